"""Which architectures ONNX Runtime GenAI's model builder takes, of those that transformers knows."""

from pathlib import Path

from engine.frameworks.architectures import CLASS, Architectures, installed, package, quoted, through_a_folder


def read(home: Path, form: str) -> Architectures | None:
    """From the model builder in the environment at `home`; None where it or transformers is not there."""
    builder = installed(home, "onnxruntime_genai", "models", "builder.py")
    known = installed(home, "transformers", "models", "auto", "modeling_auto.py")
    if builder is None or known is None:
        return None
    names = quoted(builder.read_text(encoding="utf-8"), r'config\.architectures\[0\] == "([^"]+)"')
    text = known.read_text(encoding="utf-8")
    names = frozenset(name for name in names if f'"{name}"' in text)
    folder = Architectures(names, CLASS, package(home, "onnxruntime-genai"))
    return through_a_folder(folder) if form == "gguf" else folder
