"""How many layers of a model go to the GPUs: as many as fit, the others are computed by the processor.

llama.cpp puts on a GPU what it is told to, and fails where memory ends; some drivers take main memory instead, and are
slow.
"""

import ctypes
from collections.abc import Callable
from typing import Any, TypeVar

from engine.models.card import ModelCard

MARGIN_BYTES = 1 << 29
"""Left free on each GPU, for what its libraries and other programs take."""
GPU = 1
"""What ggml calls the kind of a GPU with memory of its own, in ggml-backend.h."""

T = TypeVar("T")


def layers_that_fit(card: ModelCard, context_length: int, batch: int, free: list[int]) -> int:
    """Layers for GPUs with so many bytes `free`, -1 for all. Pure.

    llama.cpp counts the output as one layer more. Beside the weights, a GPU holds its layers' part of the key/value
    cache and the numbers of a batch: its logits, and what the widest layer computes.
    """
    numbers = 4 * batch * ((card.vocabulary or 0) + 8 * (card.width or 0))
    room = sum(free) - len(free) * (MARGIN_BYTES + numbers)
    needed = card.size_bytes + (card.kv_cache_bytes(context_length) or 0)
    if not free or needed <= room or not card.layers:
        return -1
    return max(0, int(room / needed * (card.layers + 1)))


def with_fewer_layers(load: Callable[[int], T], layers: int, of: int, lacked_memory: Callable[[], bool]) -> T:
    """What `load` makes with so many layers, or with as many as it takes where memory does not suffice after all.

    `of` is how many -1 stands for. Raises what `load` raises where no layer is left, or memory is not the reason.
    """
    while True:
        try:
            return load(layers)
        except (ValueError, RuntimeError):
            if not layers or not lacked_memory():
                raise
            layers = (of if layers < 0 else layers) * 3 // 4


def free_bytes(libggml: Any) -> list[int]:
    """Bytes free on each GPU with memory of its own, as ggml sees them; `libggml` is its library."""
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    found = []
    for index in range(libggml.ggml_backend_dev_count()):
        device = ctypes.c_void_p(libggml.ggml_backend_dev_get(ctypes.c_size_t(index)))
        if libggml.ggml_backend_dev_type(device) == GPU:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            libggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            found.append(free.value)
    return found
