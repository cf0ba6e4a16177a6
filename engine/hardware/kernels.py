"""Small loops in machine code that keep a core's arithmetic units busy, so that their rate can be measured.

Python alone cannot reach them, and a library that can is hundreds of megabytes. Each loop does ten independent
multiply-accumulates a round, enough to hide their latency, on registers only. They read and write no memory.
"""

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import NamedTuple

_ACCUMULATORS = 10


class Kernel(NamedTuple):
    """A loop: what it measures, the instruction that it is made of, its operations a round (a multiply-add is two)."""

    measures: str
    """float32 or int8"""
    instruction: str
    operations: int
    code: bytes


def best_kernels(architecture: str, instruction_sets: tuple[str, ...]) -> list[Kernel]:
    """For each type of number the widest loop that this processor can run."""
    found: dict[str, Kernel] = {}
    for kind, needs, kernel in _KERNELS:
        if kind == architecture and needs in instruction_sets:
            found.setdefault(kernel.measures, kernel)
    return list(found.values())


def load(kernel: Kernel) -> Callable[[int], object]:
    """The loop as a function of the number of rounds; releases the interpreter's lock. Raises OSError if refused.

    The code is mapped from a file that never was writable memory, as hardened systems demand, and as lets the kernel
    keep the instruction caches of ARM coherent.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    file = os.memfd_create("edgewise-kernel")
    try:
        os.write(file, kernel.code)
        place = libc.mmap(None, len(kernel.code), mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file, 0)
    finally:
        os.close(file)
    if place in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "memory cannot be made executable")
    return ctypes.CFUNCTYPE(None, ctypes.c_long)(place)


def _x86(vex: bool, opcode: int) -> bytes:
    """`opcode` on registers 0 to 9 with 14 and 15 as operands, 256 bits wide (VEX) or 512 (EVEX)."""
    code = b""
    for register in range(_ACCUMULATORS):
        high = register < 8
        prefix = (
            bytes((0xC4, 0xC2 if high else 0x42, 0x0D)) if vex else bytes((0x62, 0xD2 if high else 0x52, 0x0D, 0x48))
        )
        code += prefix + bytes((opcode, 0xC7 + 8 * (register % 8)))
    return _x86_loop(code)


def _x86_before_vnni() -> bytes:
    """vpmaddubsw and vpmaddwd into register 10, 11 or 12, then vpaddd onto registers 0 to 9."""
    code = b""
    for register in range(_ACCUMULATORS):
        sum_of_pairs = register % 3  # + 10
        code += bytes((0xC4, 0x42, 0x0D, 0x04, 0xD7 + 8 * sum_of_pairs))
        code += bytes((0xC4, 0x41, 0x2D - 8 * sum_of_pairs, 0xF5, 0xD5 + 8 * sum_of_pairs))
        first, operand = (0xC1, 0x7D) if register < 8 else (0x41, 0x3D)
        operand -= 8 * (register % 8)
        code += bytes((0xC4, first, operand, 0xFE, 0xC2 + 8 * (register % 8) + sum_of_pairs))
    return _x86_loop(code)


def _x86_loop(body: bytes) -> bytes:
    # vzeroall; body; dec rdi; jnz body; vzeroupper; ret
    back = (-(len(body) + 9)).to_bytes(4, "little", signed=True)
    return b"\xc5\xfc\x77" + body + b"\x48\xff\xcf" + b"\x0f\x85" + back + b"\xc5\xf8\x77\xc3"


def _arm(opcode: int) -> bytes:
    """`opcode` on v0 to v7, v16 and v17 with v30 and v31 as operands, 128 bits wide."""
    registers = (*range(8), 16, 17)
    words = [0x6F00E400 | register for register in (*registers, 30, 31)]  # movi v.2d, #0
    words += [opcode | 31 << 16 | 30 << 5 | register for register in registers]
    words += [0xF1000400, 0x54000001 | (-(len(registers) + 1) & 0x7FFFF) << 5, 0xD65F03C0]  # subs, b.ne, ret
    return b"".join(word.to_bytes(4, "little") for word in words)


# Architecture, instruction set needed, loop; of each type the fastest first.
_KERNELS = (
    ("x86_64", "avx512", Kernel("float32", "vfmadd231ps zmm", 320, _x86(False, 0xB8))),
    ("x86_64", "fma", Kernel("float32", "vfmadd231ps ymm", 160, _x86(True, 0xB8))),
    ("x86_64", "avx512_vnni", Kernel("int8", "vpdpbusd zmm", 1280, _x86(False, 0x50))),
    ("x86_64", "avx_vnni", Kernel("int8", "vpdpbusd ymm", 640, _x86(True, 0x50))),
    ("x86_64", "avx2", Kernel("int8", "vpmaddubsw ymm", 640, _x86_before_vnni())),
    ("aarch64", "neon", Kernel("float32", "fmla v.4s", 80, _arm(0x4E20CC00))),
    ("aarch64", "i8mm", Kernel("int8", "smmla v.4s", 640, _arm(0x4E80A400))),
    ("aarch64", "dotprod", Kernel("int8", "sdot v.4s", 320, _arm(0x4E809400))),
)
