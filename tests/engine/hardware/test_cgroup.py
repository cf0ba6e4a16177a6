"""The limits of control groups, in every layout that they are mounted in."""

from pathlib import Path

import pytest

from engine.hardware import probe
from engine.hardware.facts import Memory
from tests.engine.hardware.trees import meminfo, write_tree

MIB = 1 << 20
BASE = "sys/fs/cgroup"
MACHINE = {"proc/meminfo": meminfo(4096 * 1024, 3072 * 1024)}
CGROUP2 = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"


def read(root: Path, files: dict[str, str]) -> Memory:
    return probe(write_tree(root, {**MACHINE, **files})).memory


def test_the_tightest_of_all_ancestors_counts(tmp_path: Path) -> None:
    memory = read(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b/c",
            "proc/self/mountinfo": CGROUP2,
            f"{BASE}/a/memory.max": str(2048 * MIB),
            f"{BASE}/a/memory.current": str(2000 * MIB),
            f"{BASE}/a/b/memory.max": str(1024 * MIB),
            f"{BASE}/a/b/memory.current": str(100 * MIB),
            f"{BASE}/a/b/c/memory.max": "max",
        },
    )
    assert memory.limit_bytes.value == 1024 * MIB
    assert memory.usable_bytes.value == 48 * MIB, "the wider limit has less left below it"
    assert memory.usable_bytes.source.startswith("/sys/fs/cgroup/a/memory.max")


def test_memory_high_is_a_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a",
        "proc/self/mountinfo": CGROUP2,
        f"{BASE}/a/memory.max": "max",
        f"{BASE}/a/memory.high": str(512 * MIB),
        f"{BASE}/a/memory.current": str(12 * MIB),
    }
    memory = read(tmp_path, files)
    assert (memory.limit_bytes.value, memory.usable_bytes.value) == (512 * MIB, 500 * MIB)


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "18446744073709551615", "0", "-1", "x", ""])
def test_what_is_no_limit(tmp_path: Path, limit: str) -> None:
    files = {"proc/self/cgroup": "0::/a", "proc/self/mountinfo": CGROUP2, f"{BASE}/a/memory.max": limit}
    memory = read(tmp_path, files)
    assert not memory.limit_bytes.known
    assert memory.limit_bytes.source
    assert memory.usable_bytes.value == 3072 * MIB


def test_a_limit_above_the_machines_memory_binds_nothing(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/a", "proc/self/mountinfo": CGROUP2, f"{BASE}/a/memory.max": str(9999 * MIB)}
    assert not read(tmp_path, files).limit_bytes.known


def test_without_the_use_a_limit_is_the_most_there_can_be(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/a", "proc/self/mountinfo": CGROUP2, f"{BASE}/a/memory.max": str(256 * MIB)}
    memory = read(tmp_path, files)
    assert memory.usable_bytes.value == 256 * MIB
    assert "at most" in memory.usable_bytes.source


def test_more_in_use_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a",
        "proc/self/mountinfo": CGROUP2,
        f"{BASE}/a/memory.max": str(256 * MIB),
        f"{BASE}/a/memory.current": str(300 * MIB),
    }
    assert read(tmp_path, files).usable_bytes.value == 0


@pytest.mark.parametrize("path", ["/", "/docker/of/the/host", "/../../sibling", "/a/../../b", "/" + "x/" * 3000])
def test_a_path_of_another_namespace_means_what_is_mounted(tmp_path: Path, path: str) -> None:
    files = {
        "proc/self/cgroup": f"0::{path}",
        "proc/self/mountinfo": CGROUP2,
        f"{BASE}/memory.max": str(128 * MIB),
        f"{BASE}/memory.current": str(28 * MIB),
    }
    assert read(tmp_path, files).usable_bytes.value == 100 * MIB


def test_cgroup1_seen_from_the_host(tmp_path: Path) -> None:
    hierarchy = f"{BASE}/memory/machine/job"
    files = {
        "proc/self/cgroup": "4:memory:/machine/job/task\n3:cpu,cpuacct:/slow\n0::/",
        "proc/self/mountinfo": "\n".join(
            f"{30 + index} 24 0:{26 + index} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"
            for index, name in enumerate(("memory", "cpu,cpuacct"))
        ),
        f"{hierarchy}/memory.limit_in_bytes": str(1000 * MIB),
        f"{hierarchy}/memory.usage_in_bytes": str(600 * MIB),
        f"{hierarchy}/memory.stat": f"total_inactive_file {200 * MIB}\ntotal_active_file {100 * MIB}\ncache 1",
        f"{hierarchy}/task/memory.limit_in_bytes": "9223372036854771712",
        f"{BASE}/cpu,cpuacct/slow/cpu.cfs_quota_us": "50000",
        f"{BASE}/cpu,cpuacct/slow/cpu.cfs_period_us": "100000",
        f"{BASE}/cpu,cpuacct/cpu.cfs_quota_us": "-1",
        f"{BASE}/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    hardware = probe(write_tree(tmp_path, {**MACHINE, **files}))
    assert hardware.memory.usable_bytes.value == 700 * MIB
    assert hardware.cpu.usable_cores.value == 0.5


def test_both_versions_side_by_side(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/v1\n0::/v2",
        "proc/self/mountinfo": "31 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "32 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        f"{BASE}/memory/v1/memory.limit_in_bytes": str(300 * MIB),
        f"{BASE}/memory/v1/memory.usage_in_bytes": str(100 * MIB),
        f"{BASE}/unified/v2/cgroup.procs": "1",
    }
    assert read(tmp_path, files).usable_bytes.value == 200 * MIB


def test_without_mountinfo_the_usual_places_are_read(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/a", f"{BASE}/a/memory.max": str(256 * MIB)}
    assert read(tmp_path, files).limit_bytes.value == 256 * MIB


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a",
        "proc/self/mountinfo": r"30 24 0:26 / /my\040groups rw - cgroup2 cgroup2 rw",
        "my groups/a/memory.max": str(256 * MIB),
    }
    assert read(tmp_path, files).limit_bytes.value == 256 * MIB


def test_affinity_and_quota_and_cpus_online_all_bound_the_cores(tmp_path: Path) -> None:
    files = {
        "proc/self/status": "Name:\tcp\nCpus_allowed_list:\t0-1,4",
        "sys/devices/system/cpu/online": "0-7",
        "proc/self/cgroup": "0::/a",
        "proc/self/mountinfo": CGROUP2,
        f"{BASE}/a/cpu.max": "400000 100000",
        f"{BASE}/cpu.max": "max 100000",
    }
    cores = probe(write_tree(tmp_path, files)).cpu.usable_cores
    assert cores.value == 3.0
    assert "Cpus_allowed_list" in cores.source
