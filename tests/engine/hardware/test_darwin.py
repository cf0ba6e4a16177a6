"""Macs, from what sysctl prints on them."""

from engine.hardware.darwin import describe_mac, parse_sysctl
from engine.hardware.facts import Cache

M3 = """
hw.memsize: 38654705664
hw.model: Mac15,7
hw.packages: 1
hw.physicalcpu: 12
hw.logicalcpu: 12
hw.perflevel0.physicalcpu: 6
hw.perflevel0.l1dcachesize: 131072
hw.perflevel0.l2cachesize: 16777216
hw.perflevel0.cpusperl2: 6
hw.perflevel1.physicalcpu: 6
hw.perflevel1.l2cachesize: 4194304
hw.perflevel1.cpusperl2: 6
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
machdep.cpu.brand_string: Apple M3 Pro
kern.osproductversion: 15.1
kern.hostname: desk.local
kern.hv_vmm_present: 0
"""


def test_apple_silicon() -> None:
    mac = describe_mac(parse_sysctl(M3), available_bytes=20 << 30, swap=(0, 0), power="battery")
    cpu = mac.cpu
    assert (cpu.architecture.value, cpu.vendor.value, cpu.microarchitecture.value) == ("aarch64", "apple", "m3")
    assert (cpu.performance_cores.value, cpu.efficiency_cores.value, cpu.usable_cores.value) == (6, 6, 12.0)
    assert cpu.instruction_sets.value == ("neon", "dotprod", "i8mm")
    assert Cache(2, "unified", 16 << 20, 1) in cpu.caches
    assert mac.memory.total_bytes.value == 36 << 30
    assert mac.memory.usable_bytes.value == 20 << 30
    assert mac.memory.unified.value is True
    assert [(device.kind, device.apis) for device in mac.accelerators] == [("gpu", ("metal",)), ("npu", ())]
    assert (mac.board.value, mac.virtualization.value, mac.power_source.value) == ("Mac15,7", "none", "battery")


def test_a_silent_sysctl_leaves_unknowns() -> None:
    mac = describe_mac({}, available_bytes=1 << 30, swap=(0, 0), power=None)
    assert mac.os.value == "darwin"
    for fact in (mac.cpu.architecture, mac.cpu.usable_cores, mac.cpu.instruction_sets, mac.memory.total_bytes,
                 mac.memory.unified, mac.power_source, mac.virtualization):  # fmt: skip
        assert not fact.known
