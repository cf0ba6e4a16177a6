"""Processes as Edgewise starts and ends them: in a group of their own, with `engine` on their path and nothing else."""

import contextlib
import os
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine import __version__
from engine.errors import ResourceError
from engine.paths import data_dir, room

if TYPE_CHECKING:
    import psutil


def engine_path() -> Path:
    """A folder that holds `engine` and `assets` and nothing else, for a worker's PYTHONPATH.

    The front's site-packages must stay off that path: its huggingface-hub would shadow the framework's.
    """
    root = Path(__file__).resolve().parents[2]
    name_of_root = f"{__version__}-{zlib.crc32(str(root).encode()):x}"
    shelf = data_dir() / "worker" / name_of_root  # may be there already in a folder that is read-only by now
    for name in ("engine", "assets"):
        link = shelf / name
        if link.exists():
            continue
        (room("worker") / name_of_root).mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            try:
                link.symlink_to(root / name, target_is_directory=True)
            except OSError:  # Windows without the right to make links
                shutil.copytree(root / name, link)
    return shelf


def environment_python(environment: str) -> Path:
    """The interpreter of a framework environment; Edgewise's own for "". Raises ResourceError if it is not there."""
    if not environment:
        return Path(sys.executable)
    home = data_dir() / "environments" / environment
    python = home / "Scripts" / "python.exe" if os.name == "nt" else home / "bin" / "python"
    if not python.exists() or not (home / "ready.json").exists():
        framework, _, purpose = environment.partition("-")
        raise ResourceError(
            f"The {environment} environment is not installed.",
            f"There is no finished environment at {home}.",
            f"Run `edgewise setup {framework} --purpose {purpose or 'run'}`.",
        )
    return python


def worker_variables(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables of a worker: the user's, less what would leak the front's packages into it."""
    variables = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    }
    variables.update(
        PYTHONPATH=str(engine_path()),
        EDGEWISE_DATA=str(data_dir()),  # a framework's environment has no platformdirs to find it with
        PYTHONNOUSERSITE="1",
        PYTHONUTF8="1",
        TOKENIZERS_PARALLELISM="false",
        HF_HUB_DISABLE_TELEMETRY="1",
        ORT_DISABLE_TELEMETRY="1",
    )
    variables.update(extra or {})
    return variables


def default_threads() -> int:
    """Threads for a model: the physical cores that this process may use, never more than its CPU quota."""
    from engine.hardware import probe

    cpu = probe().cpu
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bounds = [allowed, cpu.usable_cores.value, cpu.performance_cores.value or cpu.physical_cores.value]
    return max(1, int(min(bound for bound in bounds if bound)))


def settle_thread_waiting() -> None:
    """Choose how OpenMP threads wait for each other, as the machine is now; the user's word counts.

    Threads that spin are the fastest on cores of their own (the library's default). Where somebody else keeps a core
    busy they take the time from whoever they wait for, and most of the speed is lost: there they should sleep. OpenMP
    reads this once, when it is loaded.
    """
    chosen = any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"))
    if not chosen and _cores_of_others() > 0.5:
        os.environ["OMP_WAIT_POLICY"] = "passive"


def _cores_of_others(interval_s: float = 0.15) -> float:
    """How many cores other processes keep busy just now; 0 where the system does not say."""
    try:
        busy, own, started = _busy_s(), time.process_time(), time.monotonic()
        time.sleep(interval_s)
        return (_busy_s() - busy - (time.process_time() - own)) / (time.monotonic() - started)
    except (OSError, ValueError, IndexError):
        return 0.0


def _busy_s() -> float:
    """Seconds that all processors together have worked since the start."""
    user, nice, system, _, _, *interrupts = Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")


def kill_group(pid: int) -> None:
    """Kill a process that leads a group, with everything it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            os.kill(pid, signal.SIGTERM)
        else:
            os.killpg(pid, signal.SIGKILL)


def own_memory() -> tuple[int, int]:
    """Resident and peak resident bytes of this process."""
    with contextlib.suppress(OSError):
        fields = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Vm")
        )
        return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return peak, peak


def largest_child() -> int:
    """Peak resident bytes of the largest child of this process that has ended; 0 where the system does not say."""
    with contextlib.suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 0


def family(pid: int) -> "list[psutil.Process]":
    """A process and all that descends from it; empty when it is gone."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def group_memory(pid: int) -> int | None:
    """Resident bytes of a process and all that descends from it; None when it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        total = int(process.memory_info().rss)
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += int(child.memory_info().rss)
    except psutil.Error:
        return None
    return total
