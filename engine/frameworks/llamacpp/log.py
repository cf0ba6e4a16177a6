"""llama.cpp's own log, line by line."""

import ctypes
from collections.abc import Callable
from typing import Any


class LogTap:
    """Passes llama.cpp's own log on, whole line by whole line (it arrives in fragments)."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        import llama_cpp

        self._on_line, self._rest = on_line, b""
        self._callback = llama_cpp.llama_log_callback(self._take)  # kept: C holds only a pointer to it
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _take(self, level: int, text: bytes, user_data: Any) -> None:
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))
