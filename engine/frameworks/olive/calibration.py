"""Calibration text as Olive takes it: what a recipe says of it, what a user's may say, and the data set made of it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.frameworks.calibration import read_calibration, require_tokens
from engine.texts import OURS

DYNAMIC, STATIC = "OnnxDynamicQuantization", "OnnxStaticQuantization"
CALIBRATION = "edgewise_calibration"
"""The name under which Olive knows a data set of our making."""
HOW_TO_NAME_A_TEXT = (
    "Put a text beside the recipe and give the pass "
    f'{{"data_config": {{"name": "text", "load_dataset_config": {{"type": "{CALIBRATION}", "path": "TEXT.txt"}}}}}}.'
)
SEQUENCE_TOKENS, SEQUENCES = 256, 64
"""How much calibration text is used: that many pieces of that many tokens at most."""
COMPUTED = "Calibration pieces computed"
"""How the lines begin that tell how many pieces were computed: `…: 3/10`."""


def data_config(text: str, *, chat: bool = False) -> dict[str, Any]:
    """A pass's `data_config` for "ours" or the path of a text; see `calibration_data` for `chat`."""
    return {
        "name": "calibration",
        "load_dataset_config": {"type": CALIBRATION, "path": text, "chat": chat},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "post_process_data_config": {"type": "skip_post_process"},
    }


def check_text(text: str, encode: Callable[[str], list[int]]) -> None:
    """InputError where a text ("ours" or a path) is too short to measure activations on."""
    require_tokens(len(encode("\n".join(read_calibration(text)))))


def check_data(path: Path, place: str, key: str, value: Any) -> None:
    """InputError for a value of the user's recipe `path` that names data which cannot be had in the worker."""
    if key == "data_name":
        local = value in ("json", "text", "csv", "parquet")
        taken = "through the package datasets" if local else "from a hub"
        raise InputError(
            f"{path.name} takes data {taken}: {place} is {str(value)[:80]!r}.",
            "Edgewise does not install that package for Olive." if local else "Edgewise converts offline.",
            HOW_TO_NAME_A_TEXT,
        )
    if key == "load_dataset_config" and isinstance(value, dict) and value.get("type") == CALIBRATION:
        params = value.get("params")
        text = str((params if isinstance(params, dict) else value).get("path") or "")
        read_calibration(text if text == OURS else str(path.parent.absolute() / text))


def check_calibrated(path: Path, name: str, kind: str, settings: Mapping[str, Any]) -> None:
    """InputError for a pass of a user's recipe that needs calibration data and names none."""
    if (_is_static(kind, settings) or kind == "Gptq") and not settings.get("data_config"):
        raise InputError(
            f"The pass {name!r} of {path.name} needs calibration data.",
            f"{kind} measures what the model computes on a text, and the pass has no data_config.",
            HOW_TO_NAME_A_TEXT,
        )


def is_static_throughout(kind: str, settings: Mapping[str, Any]) -> bool:
    """Whether a pass gives every operator's output fixed 8-bit ranges, which few language models survive."""
    return _is_static(kind, settings) and not settings.get("op_types_to_quantize")


def _is_static(kind: str, settings: Mapping[str, Any]) -> bool:
    return kind == STATIC or (kind == "OnnxQuantization" and settings.get("quant_mode", "static") == "static")


def register(model: str) -> None:
    """Make our data set known to Olive, in its process. `model` is the folder with the tokenizer."""
    from olive.data.registry import Registry

    def load(path: str, chat: bool = False, **rest: Any) -> Any:
        return calibration_data(model, path, chat=chat)

    Registry.register_dataset(CALIBRATION)(load)


def calibration_data(model: str, text: str, *, chat: bool = False) -> Any:
    """Tokenized pieces of a text as a torch data set: items of (inputs, label), each of shape (SEQUENCE_TOKENS,).

    With `chat` each piece is a question and an answer in the model's chat template: the activations that a
    conversation meets. Then a line is printed for each that is taken.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    ids = tokenizer("\n".join(read_calibration(text)), add_special_tokens=False)["input_ids"]
    size = min(SEQUENCE_TOKENS, len(ids))
    pieces = [ids[at : at + size] for at in range(0, len(ids) - size + 1, size)][:SEQUENCES]
    if chat and tokenizer.chat_template:
        pieces = [_conversation(tokenizer, piece) for piece in pieces]
    tensors = [torch.tensor(piece) for piece in pieces]
    items = [({"input_ids": one, "attention_mask": torch.ones_like(one)}, one) for one in tensors]
    return _told(items) if chat else items


def _conversation(tokenizer: Any, piece: list[int]) -> list[int]:
    half = len(piece) // 2
    question, answer = tokenizer.decode(piece[:half]), tokenizer.decode(piece[half:])
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return list(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False))


def _told(items: list[Any]) -> Any:
    from torch.utils.data import IterableDataset

    class Told(IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            for number, item in enumerate(items):
                print(f"{COMPUTED}: {number}/{len(items)}", flush=True)  # noqa: T201 - read by Watch
                yield item
            print(f"{COMPUTED}: {len(items)}/{len(items)}", flush=True)  # noqa: T201

    return Told()
