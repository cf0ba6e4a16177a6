"""The files of an OpenVINO model, and how far one is that somebody else is writing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.frameworks.contract import Report

MODEL_FILES = tuple(
    f"openvino_{part}.{kind}" for part in ("model", "tokenizer", "detokenizer") for kind in ("xml", "bin")
)
WATCH_INTERVAL_S = 0.2


@contextmanager
def growth(path: Path, total: int, stage: str, report: Report) -> Iterator[None]:
    """From when `path` appears, a stage that counts its bytes against the `total` that it will have."""
    done = threading.Event()
    seen = threading.Event()

    def look() -> None:
        if path.exists():
            if not seen.is_set():
                seen.set()
                report.stage(stage, float(total), "bytes")
            size = min(path.stat().st_size, total)
            report.progress(float(size), bytes_done=size, bytes_total=total)

    def watch() -> None:
        while not done.wait(WATCH_INTERVAL_S):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    look()
    if seen.is_set():
        report.progress(float(total), bytes_done=total, bytes_total=total)
