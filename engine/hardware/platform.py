"""What kind of place a Linux machine is: system, board, virtual machine, container, WSL."""

import os
import re

from engine.hardware.facts import Fact
from engine.hardware.files import Tree, clean

_DMI = "/sys/class/dmi/id"
_NAMELESS = ("to be filled", "default string", "system product name", "system manufacturer", "not specified", "o.e.m.")

# Part of a DMI name → systemd's name for the hypervisor.
_DMI_HYPERVISORS = {
    "kvm": "kvm", "openstack": "kvm", "amazon ec2": "amazon", "google compute engine": "google", "qemu": "qemu",
    "vmware": "vmware", "virtualbox": "virtualbox", "innotek": "virtualbox", "xen": "xen", "bochs": "bochs",
    "parallels": "parallels", "bhyve": "bhyve", "microsoft corporation virtual machine": "hyperv",
}  # fmt: skip
_CLOCKS = {"kvm-clock": "kvm", "hyperv_clocksource_tsc_page": "hyperv", "xen": "xen"}
# What container engines leave in the paths of cgroups and mounts; a service that runs an engine is no container.
_CONTAINER_PATHS = {
    "kubernetes": r"kubepods",
    "docker": r"/docker[-/][0-9a-f]{12}|/docker/overlay2/",
    "podman": r"/libpod-[0-9a-f]{12}|/containers/storage/",
    "lxc": r"/lxc(\.payload)?[./]",
    "containerd": r"/cri-containerd-|/io\.containerd\.",
}


def read_name(tree: Tree) -> str:
    """The host's name; empty where nothing tells it."""
    if tree.live:
        return clean(os.uname().nodename) or ""
    return tree.read_words("/proc/sys/kernel/hostname") or tree.read_words("/etc/hostname") or ""


def read_os(tree: Tree) -> tuple[Fact[str], Fact[str]]:
    """The operating system and its version."""
    release = tree.read_fields("/etc/os-release", "=").get("PRETTY_NAME", "").strip("\"'")
    kernel = tree.read_words("/proc/sys/kernel/osrelease")
    if not kernel:
        words = (tree.read_text("/proc/version") or "").split()
        kernel = words[2] if words[:2] == ["Linux", "version"] and len(words) > 2 else None
    version = clean(", ".join(part for part in (release, f"Linux {kernel}" if kernel else "") if part))
    seen = tree.live or kernel or tree.exists("/proc/cpuinfo") or tree.exists("/proc/meminfo")
    return (
        Fact("linux" if seen else None, "sys.platform" if tree.live else "/proc"),
        Fact(version, "/etc/os-release, /proc/sys/kernel/osrelease"),
    )


def read_board(tree: Tree) -> Fact[str]:
    """The board's or computer's model."""
    path = f"{tree.device_tree()}/model"
    if model := tree.read_words(path):
        return Fact(model, path)
    for vendor, product in (("sys_vendor", "product_name"), ("board_vendor", "board_name")):
        words = [tree.read_words(f"{_DMI}/{name}") for name in (vendor, product)]
        named = [word for word in words if word and not any(filler in word.lower() for filler in _NAMELESS)]
        if named and words[1] in named:
            return Fact(" ".join(dict.fromkeys(named)), f"{_DMI}/{product}")
    return Fact(None, f"{path}, {_DMI}/product_name")


def read_virtualization(tree: Tree, cpuinfo: list[dict[str, str]]) -> Fact[str]:
    """The hypervisor under us, "none", or unknown."""
    if kind := tree.read_words("/sys/hypervisor/type"):
        return Fact(kind, "/sys/hypervisor/type")
    if "microsoft" in (tree.read_text("/proc/sys/kernel/osrelease") or "").lower():
        return Fact("hyperv", "/proc/sys/kernel/osrelease (WSL 2)")
    for names in (("sys_vendor", "product_name"), ("bios_vendor",), ("board_vendor",)):
        dmi = " ".join(tree.read_words(f"{_DMI}/{name}") or "" for name in names).lower()
        for part, hypervisor in _DMI_HYPERVISORS.items():
            if part in dmi and "metal" not in dmi:
                return Fact(hypervisor, f"{_DMI}/{names[-1]}")
    device_tree = tree.device_tree()
    for name in tree.read_strings(f"{device_tree}/hypervisor/compatible"):
        return Fact("kvm" if "kvm" in name else name, f"{device_tree}/hypervisor/compatible")
    clocks = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
    for clock in (tree.read_text(clocks) or "").split():
        if clock in _CLOCKS:
            return Fact(_CLOCKS[clock], clocks)
    flags = [block["flags"].split() for block in cpuinfo if "flags" in block]
    if flags:
        known = "none" if "hypervisor" not in flags[0] else "unnamed hypervisor"
        return Fact(known, "/proc/cpuinfo flags")
    if tree.read_text(f"{device_tree}/model"):
        return Fact("none", f"no hypervisor in {device_tree}")
    return Fact(None, f"{_DMI}, /proc/cpuinfo flags, {device_tree}")


def read_container(tree: Tree) -> Fact[str]:
    """The kind of container we are in, "none", or unknown."""
    if tree.live and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return Fact("kubernetes", "KUBERNETES_SERVICE_HOST")
    markers = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
    for path, engine in markers.items():
        if tree.exists(path):
            return Fact(engine, path)
    if kind_told := tree.read_words("/run/systemd/container"):
        return Fact(kind_told, "/run/systemd/container")
    for path in ("/proc/self/cgroup", "/proc/1/cgroup"):
        if kind := _container_in(tree.read_text(path) or ""):
            return Fact(kind, path)
    mounts = (tree.read_text("/proc/self/mountinfo") or "").splitlines()
    for line in mounts:
        if line.split()[4:5] == ["/"]:
            source = "/proc/self/mountinfo, what is mounted at /"
            return Fact(_container_in(line) or (None if " - overlay " in line else "none"), source)
    return Fact(None, "/proc/self/cgroup, /proc/self/mountinfo")


def _container_in(text: str) -> str | None:
    return next((kind for kind, pattern in _CONTAINER_PATHS.items() if re.search(pattern, text)), None)


def read_wsl(tree: Tree) -> Fact[bool]:
    """Whether this is the Windows Subsystem for Linux."""
    for path in ("/proc/sys/kernel/osrelease", "/proc/version"):
        if text := tree.read_text(path):
            return Fact("microsoft" in text.lower(), path)
    return Fact(None, "/proc/version")
