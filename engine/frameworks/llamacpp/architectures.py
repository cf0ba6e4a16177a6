"""Which architectures llama.cpp's converter and its GGUF library list."""

from pathlib import Path

import msgspec

from engine.frameworks.architectures import CLASS, TYPE, Architectures, quoted

NO_MODELS = {"clip"}
"""Names of files that go with a model and are none."""


def read(home: Path, form: str) -> Architectures | None:
    """From the converter in the environment at `home`; None where it is not there."""
    converter = home / "converter"
    try:
        if form == "gguf":
            text = (converter / "gguf-py" / "gguf" / "constants.py").read_text(encoding="utf-8")
            table = text.partition("MODEL_ARCH_NAMES:")[2].partition("\n}")[0]
            return Architectures(quoted(table, r'^\s+MODEL_ARCH\.\w+:\s+"([^"]+)"') - NO_MODELS, TYPE, _version(home))
        # Classes for images are here, too: the converter takes the text part of such a model.
        text = (converter / "conversion" / "__init__.py").read_text(encoding="utf-8")
        return Architectures(quoted(text, r'^    "([^"]+)": "\w+",'), CLASS, _version(home))
    except OSError:
        return None


def _version(home: Path) -> str:
    """The source archive that the converter is from."""
    try:
        build = msgspec.json.decode((home / "ready.json").read_bytes())["build"]
        return str(build["requirement"]).replace("==", " ")
    except (OSError, KeyError, TypeError, msgspec.DecodeError):
        return "llama.cpp's converter"
