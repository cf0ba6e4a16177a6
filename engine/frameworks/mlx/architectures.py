"""Which architectures mlx-lm has code for, or other names of."""

import re
from pathlib import Path

from engine.frameworks.architectures import TYPE, Architectures, installed, package, through_a_folder

_MODEL = re.compile(r"^(class Model\b|from \S+ import .*\bModel\b)", re.MULTILINE)
_PAIR = re.compile(r'"([^"]+)": "([^"]+)"')


def read(home: Path, form: str) -> Architectures | None:
    """From mlx-lm in the environment at `home`; None where it is not there."""
    models, loading = installed(home, "mlx_lm", "models"), installed(home, "mlx_lm", "utils.py")
    if models is None or loading is None:
        return None
    names = {path.stem for path in models.glob("*.py") if _MODEL.search(path.read_text(encoding="utf-8"))}
    others = loading.read_text(encoding="utf-8").partition("MODEL_REMAPPING = {")[2].partition("\n}")[0]
    names |= {name for name, stem in _PAIR.findall(others) if stem in names}
    folder = Architectures(frozenset(names), TYPE, package(home, "mlx-lm"))
    return through_a_folder(folder) if form == "gguf" else folder
