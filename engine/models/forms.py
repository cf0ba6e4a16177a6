"""The form that a model is in, told by the names of its files: those that the hub lists and those in a folder alike."""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from engine.errors import InputError
from engine.text import printable

SAFETENSORS, GGUF, OPENVINO, ONNX, MLX = "safetensors", "gguf", "openvino", "onnx", "mlx"
SOURCES = (SAFETENSORS, GGUF)
"""What conversions begin with."""
RUN_BY = {GGUF: "llamacpp", OPENVINO: "openvino", ONNX: "olive", MLX: "mlx"}
"""The framework that runs a model in a form as it is."""
TITLES = {SAFETENSORS: "safetensors", GGUF: "GGUF", OPENVINO: "OpenVINO", ONNX: "ONNX Runtime GenAI", MLX: "MLX"}

CONFIG, GENAI, IR, TOKENIZER = "config.json", "genai_config.json", "openvino_model.xml", "tokenizer.json"
BESIDE = (
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "chat_template.*",
)
"""What lies beside the weights in every form but GGUF, in lower case."""
WEIGHTS = {
    OPENVINO: ("openvino_model.bin",),
    ONNX: ("*.onnx", "*.onnx.data", "*.onnx_data*"),
    MLX: ("model*.safetensors",),
}
_PARTS = {
    OPENVINO: (IR, "openvino_config.json", "openvino_tokenizer.*", "openvino_detokenizer.*"),
    ONNX: (GENAI,),
    MLX: ("model.safetensors.index.json",),
}
_NEVER = ("*.py", "*.pt", "*.pth", "*.pkl", "*.ckpt")


class Located(Struct, frozen=True):
    """A model among files: its form, and the folder that it lies in, "" for the top. MLX counts as safetensors here."""

    form: str
    folder: str = ""


def locate(names: Iterable[str], called: str, sign: str, wanted: str = "") -> Located:
    """The model that files make up: `wanted`, a folder's name or that of a GGUF, or the only one.

    Raises InputError where there are several folders with one; `called` and `sign` stand before a folder's name there.
    """
    names = list(names)
    made = made_folders(names)
    gguf = any(name.endswith(".gguf") for name in names)
    if wanted:
        named = [one for one in made if wanted.lower() in (one.folder.lower(), one.folder.lower().rpartition("/")[2])]
        if len(named) == 1:
            return named[0]
        if gguf or not made:
            return Located(GGUF)
        what = f"{called} has no single folder called {printable(wanted[:80], keep='')} with a model."
        raise _ask_which(what, named or made, called, sign)
    if any(map(is_weight, names)) and (CONFIG in names or not gguf):
        return Located(SAFETENSORS)
    if top := [one for one in made if not one.folder]:
        return top[0]
    if gguf:
        return Located(GGUF)
    if len(made) > 1:
        raise _ask_which(f"{called} holds several models.", made, called, sign)
    return made[0] if made else Located(SAFETENSORS)


def made_folders(names: Iterable[str]) -> list[Located]:
    """The folders with an OpenVINO or an ONNX Runtime GenAI model, by name."""
    inside: dict[str, set[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        inside.setdefault(folder, set()).add(file)
    return [Located(form, folder) for folder, files in sorted(inside.items()) if (form := made_form(files))]


def made_form(files: Collection[str]) -> str:
    """The form of the model in a folder with these files, if OpenVINO or ONNX Runtime GenAI runs it; else ""."""
    if IR in files and "openvino_model.bin" in files:
        return OPENVINO
    if GENAI in files and any(file.endswith(".onnx") for file in files):
        return ONNX
    return ""


def is_mlx(config: Mapping[str, Any]) -> bool:
    """Whether a folder with this config.json and safetensors holds weights that MLX has quantized."""
    found = config.get("quantization")
    return isinstance(found, dict) and all(type(found.get(key)) is int for key in ("group_size", "bits"))


def needed(form: str, files: Iterable[str], called: str) -> list[str]:
    """Of the files in a folder those that running its model takes. Raises InputError where the tokenizer is missing."""
    files = list(files)
    if TOKENIZER not in files:
        raise InputError(
            f"{called} has no {TOKENIZER}.",
            f"Edgewise takes the tokenizer of {TITLES[form]} models from that file.",
            "Choose another repository of the model, or convert it from the original weights.",
        )
    return [file for file in files if matches(file, (*BESIDE, *_PARTS[form], *WEIGHTS[form]))]


def matches(file: str, patterns: Iterable[str]) -> bool:
    """Whether a file's name, in lower case, is one of these; what could run a program never is."""
    lower = file.lower()
    return any(fnmatchcase(lower, pattern) for pattern in patterns) and not any(
        fnmatchcase(lower, pattern) for pattern in _NEVER
    )


def is_weight(name: str) -> bool:
    """Whether a file is of a model in safetensors: at the top, and neither in another layout nor an adapter."""
    return name.endswith(".safetensors") and "/" not in name and not name.startswith(("consolidated", "adapter_"))


def _ask_which(what: str, found: list[Located], called: str, sign: str) -> InputError:
    ends = [one.folder.rpartition("/")[2] for one in found]
    shown = [end if ends.count(end) == 1 else one.folder for one, end in zip(found, ends, strict=True)]
    if sign == "/":
        shown = [one.folder for one in found]
    listed = ", ".join(printable(name or "its top", keep="") for name in shown[:12]) + (" …" if len(shown) > 12 else "")
    example = printable(next(filter(None, shown), ""), keep="")
    return InputError(what, f"They are in the folders {listed}.", f"Name one by its folder: {called}{sign}{example}.")
