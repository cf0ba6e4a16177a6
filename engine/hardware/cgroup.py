"""The limits that control groups put on us: memory and CPU time, of our group and of every group above it.

Versions 1 and 2 and the two side by side, seen from the host or from inside a container, where the path that the
kernel reports may not exist in the tree that is mounted.
"""

import re
from typing import NamedTuple

from engine.hardware.files import Tree, clean, positive, whole_number


class MemoryLimit(NamedTuple):
    """A limit in bytes, what is left below it (None where the use is not known), and the file that sets it."""

    limit_bytes: int
    left_bytes: int | None
    source: str


def memory_limits(tree: Tree) -> list[MemoryLimit]:
    """Every memory limit over us; page cache and other memory that can be had back does not count as used."""
    limits = []
    for folder in group_folders(tree, 2, "memory"):
        found = [(name, positive(tree.read_number(f"{folder}/{name}"))) for name in ("memory.max", "memory.high")]
        used = _used(tree, folder, "memory.current", ("inactive_file", "active_file", "slab_reclaimable"))
        limits += [_limit(limit, used, folder, name) for name, limit in found if limit]
    for depth, folder in enumerate(group_folders(tree, 1, "memory")):
        used = _used(tree, folder, "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
        if limit := positive(tree.read_number(f"{folder}/memory.limit_in_bytes")):
            limits.append(_limit(limit, used, folder, "memory.limit_in_bytes"))
        above = whole_number(tree.read_fields(f"{folder}/memory.stat").get("hierarchical_memory_limit"))
        if depth == 0 and above:
            # It covers groups above the one that a container can see.
            limits.append(_limit(above, used, folder, "memory.stat hierarchical_memory_limit"))
    return limits


def cpu_quotas(tree: Tree) -> list[tuple[float, str]]:
    """Every limit on CPU time over us, in cores, with the file that sets it."""
    quotas = []
    for folder in group_folders(tree, 2, "cpu"):
        words = (tree.read_text(f"{folder}/cpu.max") or "").split()
        if len(words) == 2:
            quotas.append((whole_number(words[0]), whole_number(words[1]), _source(folder, "cpu.max")))
    for folder in group_folders(tree, 1, "cpu"):
        quota = tree.read_number(f"{folder}/cpu.cfs_quota_us")
        quotas.append((quota, tree.read_number(f"{folder}/cpu.cfs_period_us"), _source(folder, "cpu.cfs_quota_us")))
    return [(quota / period, source) for quota, period, source in quotas if quota and period]


def group_folders(tree: Tree, version: int, controller: str) -> list[str]:
    """The folders of our group and of those above it, innermost first, as far as they are mounted."""
    path = _own_path(tree, version, controller)
    if path is None:
        return []
    root, mount = _mount(tree, version, controller, path)
    inside = path.removeprefix(root.rstrip("/")) if root == "/" or _lies_in(path, root) else ""
    if ".." in inside.split("/") or not tree.is_folder(mount + inside):
        inside = ""  # the path of another namespace: all that we can see is what is mounted
    parts = [part for part in inside.split("/") if part]
    return ["/".join((mount, *parts[:depth])) for depth in range(len(parts), -1, -1)]


def _own_path(tree: Tree, version: int, controller: str) -> str | None:
    for line in (tree.read_text("/proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (version == 2 and number == "0" and not controllers) or (
            version == 1 and controller in controllers.split(",")
        ):
            return path
    return None


def _mount(tree: Tree, version: int, controller: str, path: str) -> tuple[str, str]:
    """The part of the hierarchy that is mounted and where, by preference a part that our path lies in."""
    mounts = []
    for line in (tree.read_text("/proc/self/mountinfo") or "").splitlines():
        fields, _, system = line.partition(" - ")
        words, kind = fields.split(), system.split()
        if len(words) < 5 or len(kind) < 3:
            continue
        if (version == 2 and kind[0] == "cgroup2") or (
            version == 1 and kind[0] == "cgroup" and controller in kind[2].split(",")
        ):
            mounts.append((_unescape(words[3]), _unescape(words[4]).rstrip("/")))
    for root, point in mounts:
        if root == "/" or _lies_in(path, root):
            return root, point
    if mounts:
        return mounts[0]
    base = "/sys/fs/cgroup"
    usual = (f"{base}/unified", base) if version == 2 else (f"{base}/{controller}", f"{base}/cpu,cpuacct")
    return "/", next((folder for folder in usual if tree.is_folder(folder)), usual[-1])


def _lies_in(path: str, root: str) -> bool:
    return f"{path}/".startswith(f"{root}/")


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _used(tree: Tree, folder: str, name: str, reclaimable: tuple[str, ...]) -> int | None:
    current = tree.read_number(f"{folder}/{name}")
    if current is None:
        return None
    fields = tree.read_fields(f"{folder}/memory.stat")
    return max(0, current - sum(whole_number(fields.get(key)) or 0 for key in reclaimable))


def _limit(limit: int, used: int | None, folder: str, name: str) -> MemoryLimit:
    return MemoryLimit(limit, None if used is None else max(0, limit - used), _source(folder, name))


def _source(folder: str, name: str) -> str:
    return clean(f"{folder}/{name}") or name
