"""Where a Hugging Face folder restored from a GGUF is kept: it is made once, for every framework that wants one."""

import hashlib
from pathlib import Path

from engine.models.packaged import PACKAGED, packaged_path
from engine.paths import data_dir

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""What can be restored, and the class that config.json then names."""
RECORD = "restored.json"
"""Written into a folder that is whole: what it was restored from, and how it was checked."""


def restored_folder(gguf: Path) -> Path:
    """The folder for a GGUF as it is now; it may not exist. The same file gives the same folder."""
    if gguf == packaged_path():  # known before it is fetched
        key = PACKAGED.sha256
    else:
        status = gguf.stat()
        key = hashlib.sha256(f"{gguf.absolute()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()
    return data_dir() / "models" / ".restored" / f"{gguf.stem[:60]}-{key[:10]}"


def is_restored(folder: Path) -> bool:
    """Whether a folder was restored from a GGUF, and is whole."""
    return (folder / RECORD).is_file()
