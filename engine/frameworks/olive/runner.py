"""Runs one completed recipe with Olive in a process of its own: `python -m engine.frameworks.olive.runner FILE FOLDER`.

Ends with status 0 only when Olive gave a model: its own command line ends with 0 also after a failure.
"""

import json
import sys
from pathlib import Path
from typing import Any


def run_recipe(recipe: dict[str, Any], temporary: Path) -> bool:
    """Run the recipe in this process; whether there is a model at the end. Raises what Olive raises."""
    from olive.workflows.run.run import run

    from engine.frameworks.olive.calibration import register

    register(str(recipe["input_model"]["model_path"]))
    output = run(recipe, tempdir=str(temporary))
    return bool(output is not None and output.has_output_model())


def main() -> None:
    """Run the recipe named on the command line."""
    recipe = json.loads(Path(sys.argv[1]).read_bytes())
    if not run_recipe(recipe, Path(sys.argv[2])):
        raise SystemExit("Olive ended without a model.")


if __name__ == "__main__":
    main()
