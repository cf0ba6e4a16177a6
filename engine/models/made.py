"""Models that OpenVINO and ONNX Runtime GenAI run as they are: their cards, and what is checked before they are loaded.

Such a model is a graph with its weights, so that only its configuration says how large its parts are.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from engine.errors import InputError
from engine.models.card import ModelCard
from engine.models.cards import Beside, folder_card, folder_name, positive
from engine.models.estimating import estimate_made, name_words
from engine.models.files import open_regular, quote, read_json
from engine.models.forms import GENAI, ONNX, OPENVINO
from engine.text import printable

_MAX_CONFIG_BYTES = 16 << 20
_MAX_GRAPH_BYTES = 1 << 30
_REMEDY = "Do not use this model, or take it from a source that you trust."
_FACTS = {
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "num_hidden_layers": "num_hidden_layers",
    "head_size": "head_dim",
}
_ACTING = ("library", "_path", "enable_profiling")
"""What the names of settings end with that load a library or write files."""


def made_card(
    path: Path,
    form: str,
    config: dict[str, Any],
    settings: dict[str, Any],
    files: Collection[str],
    size_bytes: int,
    beside: Beside,
) -> ModelCard:
    """The card of a model in `form` from its config.json and genai_config.json, {} where there is none.

    `files` are those that lie in its folder. Raises InputError for settings that are not used.
    """
    if form == ONNX:
        check_genai(settings, files)
    known = {"model_type": "unknown"} | _genai_facts(settings) | config
    estimated = estimate_made(known, size_bytes, name_words(folder_name(path)))
    return folder_card(path, known, (), size_bytes, beside, estimated, form)


def read_genai(folder: Path) -> dict[str, Any]:
    """The genai_config.json of a folder, if nothing in it leads elsewhere or acts. Raises InputError."""
    settings = read_json(folder / GENAI, _MAX_CONFIG_BYTES)
    check_genai(settings, [path.name for path in folder.iterdir() if path.is_file()])
    return settings


def check_genai(settings: dict[str, Any], files: Collection[str]) -> None:
    """Raise InputError unless its model is one of `files` beside it, and it loads and writes nothing else."""
    model = settings.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    if not isinstance(decoder, dict) or not isinstance(decoder.get("filename"), str):
        raise InputError(
            f"{GENAI} names no model that is a single file.",
            "Edgewise runs models for text whose decoder has a filename.",
            "Choose another form of the model.",
        )
    for key, value in _entries(settings):
        if key.endswith(_ACTING) and value not in (None, "", False):
            raise InputError(
                f"{GENAI} is not used.", f"Its setting {quote(key)} loads a program or writes files.", _REMEDY
            )
        if key.endswith("filename") and value not in ("", None) and value not in files:
            raise InputError(
                f"{GENAI} names a file that is not beside it.", f"{quote(key)} is {quote(str(value))}.", _REMEDY
            )


def check_graphs(folder: Path) -> None:
    """Raise InputError unless the weights of every OpenVINO model in a folder lie within the file that holds them."""
    for path in sorted(folder.glob("openvino_*.xml")):
        with open_regular(path.with_suffix(".bin")) as (_, weight_bytes), open_regular(path) as (file, size_bytes):
            if size_bytes > _MAX_GRAPH_BYTES:
                raise _broken(path, "It is larger than any model's.")
            _check_graph(path, file, weight_bytes)


def _check_graph(path: Path, file: IO[bytes], weight_bytes: int) -> None:
    parser, elements = expat.ParserCreate(), 0

    def refuse(*_: object) -> None:
        raise _broken(path, "It declares a document type.")

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal elements
        elements += 1
        if elements == 1 and name != "net":
            raise _broken(path, f"It begins with {quote(name)}.")
        if name == "data" and "offset" in attributes and "size" in attributes:
            place = [int(value) if value.isdecimal() else -1 for value in (attributes["offset"], attributes["size"])]
            if min(place) < 0 or sum(place) > weight_bytes:
                raise _broken(path, f"Weights lie outside {path.stem}.bin, which has {weight_bytes} bytes.")

    parser.StartDoctypeDeclHandler, parser.StartElementHandler = refuse, begin
    try:
        parser.ParseFile(file)
    except expat.ExpatError as error:
        raise _broken(path, f"Its XML is broken: {printable(str(error)[:200])}.") from error


def read_made_card(path: Path, form: str, config: dict[str, Any], size_bytes: int, beside: Beside) -> ModelCard:
    """The card of a model in a folder of this machine, checked as far as it can be. Raises InputError."""
    settings: dict[str, Any] = {}
    if form == OPENVINO:
        check_graphs(path)
    else:
        settings = read_genai(path)
    files = [one.name for one in path.iterdir()]
    return made_card(path, form, config, settings, files, size_bytes, beside)


def _genai_facts(settings: dict[str, Any]) -> dict[str, Any]:
    """What genai_config.json says of the model, under config.json's names."""
    model = settings.get("model", {})
    decoder = model.get("decoder", {})
    facts = {name: decoder[key] for key, name in _FACTS.items() if positive(decoder.get(key))}
    named = {"model_type": "type", "vocab_size": "vocab_size", "max_position_embeddings": "context_length"}
    return facts | {name: model[key] for name, key in named.items() if model.get(key)}


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


def _broken(path: Path, why: str) -> InputError:
    return InputError(
        f"{printable(path.name)} is not a usable OpenVINO model.", why, "Download or copy the model again."
    )
