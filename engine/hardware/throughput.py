"""How fast this machine reads memory and multiplies numbers, measured in less than two seconds.

The work is done in a process of its own: it gives its memory back, and a machine that refuses an instruction ends
that process and not ours. What could not be measured is unknown, and its source says why.
"""

import ctypes
import json
import math
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from engine.errors import EdgewiseError
from engine.hardware.facts import Fact, Hardware, Throughput
from engine.hardware.files import Tree, clean
from engine.hardware.kernels import Kernel, best_kernels, load
from engine.paths import data_dir, room

_LIMIT_S = 1.95
_BUDGET_S = 1.3  # of the measuring process, which then ends by itself
_WINDOW_S = 0.1
_MAX_THREADS = 64
_CACHE_NAME = "throughput.json"
_MEBIBYTE = 1 << 20


class _Cached(msgspec.Struct, frozen=True):
    machine: str
    throughput: Throughput


def measure(hardware: Hardware) -> Throughput:
    """Measure the running machine, whose facts `hardware` are, and keep the result with its date.

    Memory: bytes read a second by the C library's memcmp over a buffer larger than the caches, from two places at once,
    without which some processors do not reach what their memory gives. Numbers: operations a second of one
    multiply-accumulate instruction on registers, named in the source. All by as many threads as there are cores that we
    may use; the best of a few windows of a tenth of a second.
    """
    cores = [cores for cores in (hardware.cpu.usable_cores.value, hardware.cpu.physical_cores.value) if cores]
    threads = max(1, min(_MAX_THREADS, math.floor(min(cores, default=1))))
    buffer_bytes = _buffer_bytes(hardware, threads)
    kernels = []
    if sys.platform == "linux":
        kernels = best_kernels(hardware.cpu.architecture.value or "", hardware.cpu.instruction_sets.value or ())
    order = json.dumps(
        {
            "threads": threads,
            "buffer_bytes": buffer_bytes,
            "kernels": [(*kernel[:3], kernel.code.hex()) for kernel in kernels],
        }
    )
    results, failure = _run(order)
    missing = {
        "memory": failure if buffer_bytes else "too little memory to measure beyond the caches",
        **dict.fromkeys(("float32", "int8"), "no instruction of this processor that we can measure here"),
        **{kernel.measures: f"{kernel.instruction}: {failure}" for kernel in kernels},
    }
    facts = {name: results.get(name, Fact(None, why)) for name, why in missing.items()}
    throughput = Throughput(
        memory_bytes_per_s=facts["memory"],
        int8_ops_per_s=facts["int8"],
        float32_ops_per_s=facts["float32"],
        threads=threads,
        measured_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    with suppress(EdgewiseError, OSError):  # a measurement that cannot be kept is one all the same
        place = room("cache") / _CACHE_NAME
        partial = place.with_name(f"{_CACHE_NAME}.{os.getpid()}.partial")
        partial.write_bytes(msgspec.json.encode(_Cached(_fingerprint(), throughput)))
        os.replace(partial, place)
    return throughput


def cached_throughput() -> Throughput | None:
    """The last measurement of this machine; None if there is none, or another machine made it."""
    content = Tree().read_bytes(str(data_dir() / "cache" / _CACHE_NAME))
    if content is None:
        return None
    try:
        cached = msgspec.json.decode(content, type=_Cached)
    except (msgspec.DecodeError, RecursionError):
        return None
    return cached.throughput if cached.machine == _fingerprint() else None


def _buffer_bytes(hardware: Hardware, threads: int) -> int:
    """Four times the last cache as far as time and memory allow; 0 where memory does not allow twice the cache."""
    last = max((cache.level for cache in hardware.cpu.caches), default=0)
    cached = sum(cache.size_bytes * cache.instances for cache in hardware.cpu.caches if cache.level == last)
    # One thread fills only the caches near its core, so a part of 128 MiB each is beyond them on any machine.
    wanted = min(max(4 * cached, 64 * _MEBIBYTE), threads * 128 * _MEBIBYTE, 1024 * _MEBIBYTE)
    usable = hardware.memory.usable_bytes.value
    size = wanted if usable is None else min(wanted, usable // 4)
    return size if size >= min(wanted, max(2 * cached, 16 * _MEBIBYTE)) else 0


def _fingerprint() -> str:
    """What tells this machine, and the part of it that we may use, from others."""
    import platform

    processor = Tree().read_fields("/proc/cpuinfo", ":").get("model name") or platform.processor()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{clean(platform.node())}, {platform.machine()}, {clean(processor)}, {allowed} of {os.cpu_count()} CPUs"


def _run(order: str) -> tuple[dict[str, Fact[float]], str]:
    """What the measuring process printed before it ended, and why what is missing is missing."""
    command = [sys.executable, "-P", "-m", "engine.hardware.throughput", order]
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1)
    output: bytes | None = b""
    failure = "could not be run here"
    try:
        output = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False
        ).stdout
    except subprocess.TimeoutExpired as expired:
        output, failure = expired.stdout, "not done in two seconds, the machine is busy"
    except OSError as error:
        failure = f"no process could be started: {error.strerror}"
    found: dict[str, Fact[float]] = {}
    for line in (output or b"").splitlines():
        with suppress(msgspec.DecodeError):
            name, rate, source = msgspec.json.decode(line, type=tuple[str, float, str])
            found[name] = Fact(rate, f"{source}, while the machine was busy" if busy else source)
    return found, failure


def _measure_here(order: str) -> None:
    """The measuring process: print a line for each result as soon as there is one."""
    start = time.perf_counter()
    given = json.loads(order)
    threads, size, kernels = given["threads"], given["buffer_bytes"], given["kernels"]
    part_s = _BUDGET_S / (len(kernels) + 1)
    if size:
        rate = _best_rate([_reader(size // threads) for _ in range(threads)], start + part_s)
        _tell("memory", rate, f"measured: memcmp over {size // _MEBIBYTE} MiB, {threads} threads")
    for index, (measures, instruction, operations, code) in enumerate(kernels, 2):
        with suppress(OSError):
            run = load(Kernel(measures, instruction, operations, bytes.fromhex(code)))
            rate = _best_rate([_multiplier(run, operations)] * threads, start + index * part_s)
            _tell(measures, rate, f"measured: {instruction}, {threads} threads")


def _tell(name: str, rate: float, source: str) -> None:
    sys.stdout.write(json.dumps((name, rate, source)) + "\n")
    sys.stdout.flush()


def _reader(size: int) -> Callable[[], float]:
    """A function that reads a buffer of its own from end to end and returns the bytes read."""
    buffer = (ctypes.c_char * size).from_buffer(mmap.mmap(-1, size))
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    library.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    half = size // 2
    middle = ctypes.byref(buffer, half)
    written = False

    def read() -> float:
        nonlocal written
        if not written:
            # Untouched pages are all one and the same page of zeros; who touches first has the memory near.
            ctypes.memset(buffer, 1, size)
            written = True
            return 0.0
        library.memcmp(buffer, middle, half)
        return 2.0 * half

    return read


def _multiplier(run: Callable[[int], object], operations: int) -> Callable[[], float]:
    rounds = 1_000_000  # a few milliseconds, so that threads seldom wait for the interpreter's lock

    def multiply() -> float:
        run(rounds)
        return float(rounds * operations)

    return multiply


def _best_rate(workers: list[Callable[[], float]], until: float) -> float:
    """Units a second of all workers together, each in a thread, in the best window of time that ends before `until`.

    There is at least one window after a short one for page faults and for clocks to rise.
    """
    best = 0.0
    rates = [0.0] * len(workers)
    warm = False
    while best == 0.0 or time.perf_counter() + _WINDOW_S < until:
        ready = threading.Barrier(len(workers))

        def work(index: int, length_s: float, ready: threading.Barrier) -> None:
            ready.wait()
            start = now = time.perf_counter()
            done = 0.0
            while now < start + length_s:
                done += workers[index]()
                now = time.perf_counter()
            rates[index] = done / (now - start)

        length_s = _WINDOW_S if warm else _WINDOW_S / 10
        running = [threading.Thread(target=work, args=(index, length_s, ready)) for index in range(len(workers))]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        best = max(best, sum(rates)) if warm else 0.0
        warm = True
    return best


if __name__ == "__main__":
    _measure_here(sys.argv[1])
