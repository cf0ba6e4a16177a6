"""Runs one completed recipe with Olive in a process of its own: `python -m engine.frameworks.olive.runner FILE FOLDER`.

Ends with status 0 only when Olive gave a model: its own command line ends with 0 also after a failure.
"""

import json
import sys
from pathlib import Path
from typing import Any

SEQUENCE_TOKENS, SEQUENCES = 256, 64
"""How much calibration text is used: that many pieces of that many tokens at most."""


def run_recipe(recipe: dict[str, Any], temporary: Path) -> bool:
    """Run the recipe in this process; whether there is a model at the end. Raises what Olive raises."""
    from olive.workflows.run.run import run

    _register_calibration(str(recipe["input_model"]["model_path"]))
    output = run(recipe, tempdir=str(temporary))
    return bool(output is not None and output.has_output_model())


def _register_calibration(model: str) -> None:
    """Make our text known to Olive as a data set, without the datasets package."""
    from olive.data.registry import Registry

    from engine.frameworks.olive.recipes import CALIBRATION

    def load(path: str, **rest: Any) -> Any:
        return calibration_data(model, Path(path))

    Registry.register_dataset(CALIBRATION)(load)


def calibration_data(model: str, path: Path) -> Any:
    """Tokenized pieces of a text as a torch data set: items of (inputs, label), each of shape (SEQUENCE_TOKENS,)."""
    import torch
    from transformers import AutoTokenizer

    from engine.frameworks.calibration import read_calibration

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    ids = tokenizer("\n".join(read_calibration(str(path))), add_special_tokens=False)["input_ids"]
    size = min(SEQUENCE_TOKENS, len(ids))
    pieces = [ids[at : at + size] for at in range(0, len(ids) - size + 1, size)][:SEQUENCES]
    inputs = [torch.tensor(piece) for piece in pieces]
    return [({"input_ids": one, "attention_mask": torch.ones_like(one)}, one) for one in inputs]


def main() -> None:
    """Run the recipe named on the command line."""
    recipe = json.loads(Path(sys.argv[1]).read_bytes())
    if not run_recipe(recipe, Path(sys.argv[2])):
        raise SystemExit("Olive ended without a model.")


if __name__ == "__main__":
    main()
