import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.hardware.files import Tree
from engine.measure.conditions import Watch
from engine.measure.energy import Meter

BUSY = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"


def write(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


@pytest.fixture
def keep_busy() -> Iterator[Callable[[], list[int]]]:
    """Starts a process for every core that keeps it busy, and returns their pids."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> list[int]:
        started.extend(subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(psutil.cpu_count() or 1))
        return [process.pid for process in started]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_other_programs_are_noticed_and_named_as_the_reason(keep_busy: Callable[[], list[int]]) -> None:
    watch = Watch(threads=psutil.cpu_count() or 1)
    keep_busy()
    time.sleep(0.8)
    found = watch.conditions()
    assert not found.sound
    assert any("Other programs kept" in problem for problem in found.problems)


def test_what_the_measured_processes_use_themselves_is_no_disturbance(keep_busy: Callable[[], list[int]]) -> None:
    watch = Watch(threads=psutil.cpu_count() or 1)
    pids = keep_busy()
    time.sleep(0.8)
    unseen = watch.conditions().cores_of_others
    watch.look(pids)
    seen = watch.conditions().cores_of_others
    assert unseen is not None
    assert seen is not None
    assert seen < unseen - 0.3


def test_heat_and_quotas_are_read_from_the_kernels_counters(tmp_path: Path) -> None:
    count = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    write(tmp_path, count.format(0), "3\n")
    write(tmp_path, count.format(1), "4\n")
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu\n")
    write(tmp_path, "sys/fs/cgroup/cpu.stat", "nr_periods 9\nnr_throttled 2\n")
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    watch = Watch(1, Tree(tmp_path))
    assert watch.conditions().throttled is False
    write(tmp_path, count.format(1), "6\n")
    assert any("heat" in problem for problem in watch.conditions().problems)
    write(tmp_path, count.format(1), "4\n")
    write(tmp_path, "sys/fs/cgroup/cpu.stat", "nr_periods 9\nnr_throttled 5\n")
    found = watch.conditions()
    assert found.throttled is True
    assert any("quota" in problem for problem in found.problems)


def test_a_machine_without_counters_says_that_it_does_not_know(tmp_path: Path) -> None:
    assert Watch(1, Tree(tmp_path)).conditions().throttled is None


def test_energy_is_counted_over_packages_and_across_the_end_of_the_counter(tmp_path: Path) -> None:
    for number, start in ((0, 900_000), (1, 100_000)):
        folder = f"sys/class/powercap/intel-rapl:{number}"
        write(tmp_path, f"{folder}/name", f"package-{number}\n")
        write(tmp_path, f"{folder}/max_energy_range_uj", "1000000\n")
        write(tmp_path, f"{folder}/energy_uj", f"{start}\n")
    write(tmp_path, "sys/class/powercap/intel-rapl:0:0/energy_uj", "5\n")  # a part of package 0, counted there
    meter = Meter(Tree(tmp_path))
    write(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj", "200000\n")
    write(tmp_path, "sys/class/powercap/intel-rapl:1/energy_uj", "150000\n")
    assert meter.read() == pytest.approx(0.3 + 0.05)
    assert "package-0, package-1" in meter.basis


def test_a_battery_tells_what_the_whole_machine_uses(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/power_supply/BAT0/status", "Discharging\n")
    write(tmp_path, "sys/class/power_supply/BAT0/power_now", "20000000\n")
    meter = Meter(Tree(tmp_path))
    time.sleep(0.1)
    used = meter.read()
    assert used is not None
    assert 2.0 <= used < 20.0
    assert "battery" in meter.basis


def test_no_counter_no_energy(tmp_path: Path) -> None:
    meter = Meter(Tree(tmp_path))
    assert (meter.read(), meter.basis) == (None, "")
