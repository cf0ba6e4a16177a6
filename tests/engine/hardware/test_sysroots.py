"""Several kinds of machine, read from copied trees."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.errors import InputError
from engine.hardware import describe, probe
from engine.hardware.facts import Cache, Fact, Hardware, Throughput
from tests.engine.hardware.trees import CPUS, SYSROOTS, hybrid_laptop, meminfo, server, write_tree

GIB = 1 << 30


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Hardware:
    return probe(hybrid_laptop(tmp_path_factory.mktemp("laptop")))


@pytest.fixture(scope="module")
def many_sockets(tmp_path_factory: pytest.TempPathFactory) -> Hardware:
    return probe(server(tmp_path_factory.mktemp("server")))


class TestContainer:
    def test_an_ancestors_cgroup2_limits_bind(self) -> None:
        hardware = probe(SYSROOTS / "container-cgroup2")
        memory = hardware.memory
        assert memory.total_bytes == Fact(32505856 * 1024, "/proc/meminfo MemTotal")
        assert memory.limit_bytes.value == 8 * GIB
        assert memory.limit_bytes.source == "/sys/fs/cgroup/kubepods.slice/kubepods-pod1234.slice/memory.max"
        # 8 GiB less 5 GiB in use, of which 3.25 GiB are cache that the kernel gives back.
        assert memory.usable_bytes.value == int(6.25 * GIB)
        assert hardware.cpu.usable_cores.value == 1.5
        assert hardware.container.value == "kubernetes"

    def test_a_cgroup1_limit_above_the_visible_group_binds(self) -> None:
        hardware = probe(SYSROOTS / "container-cgroup1")
        assert hardware.memory.limit_bytes.value == 8 * GIB
        assert "hierarchical_memory_limit" in hardware.memory.limit_bytes.source
        assert hardware.memory.usable_bytes.value == 6 * GIB
        assert hardware.cpu.usable_cores.value == 1.5
        assert hardware.container.value == "docker"

    def test_the_processor_is_named_with_its_instruction_sets(self) -> None:
        cpu = probe(SYSROOTS / "container-cgroup2").cpu
        assert (cpu.architecture.value, cpu.vendor.value) == ("x86_64", "intel")
        assert cpu.microarchitecture.value == "sapphirerapids"
        assert {"avx512", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"} <= set(
            cpu.instruction_sets.value or ()
        )
        assert (cpu.sockets.value, cpu.physical_cores.value, cpu.logical_cores.value) == (1, 2, 4)

    def test_the_cloud_is_the_virtual_machine(self) -> None:
        hardware = probe(SYSROOTS / "container-cgroup2")
        assert hardware.virtualization.value == "amazon"
        assert hardware.board.value == "Amazon EC2 m7i.xlarge"
        assert hardware.os_version.value == "Ubuntu 24.04.1 LTS, Linux 6.8.0-1021-aws"


class TestBoards:
    def test_raspberry_pi(self) -> None:
        hardware = probe(SYSROOTS / "raspberry-pi-5")
        cpu = hardware.cpu
        assert hardware.board.value == "Raspberry Pi 5 Model B Rev 1.0"
        assert hardware.name == "raspberrypi"
        assert (cpu.architecture.value, cpu.vendor.value, cpu.model.value) == ("aarch64", "arm", "Cortex-A76")
        assert cpu.microarchitecture.value == "cortex_a76"
        assert cpu.instruction_sets.value == ("neon", "dotprod", "fp16")
        assert (cpu.physical_cores.value, cpu.performance_cores.value, cpu.efficiency_cores.value) == (4, 4, 0)
        assert cpu.max_frequency_hz.value == 2_400_000_000
        assert cpu.caches == (Cache(3, "unified", 2 << 20, 1),)
        assert [(gpu.vendor, gpu.apis, gpu.integrated.value) for gpu in hardware.accelerators] == [
            ("broadcom", ("vulkan",), True)
        ]
        assert hardware.memory.unified.value is True
        assert hardware.thermal_celsius.value == 52.35
        assert (hardware.virtualization.value, hardware.container.value, hardware.wsl.value) == ("none", "none", False)
        assert not hardware.power_source.known

    @pytest.mark.parametrize(("bits", "throttled"), [("50000", False), ("50005", True), ("0x8", True), ("zz", None)])
    def test_raspberry_pi_tells_throttling_now_from_throttling_before(
        self, tmp_path: Path, bits: str, throttled: bool | None
    ) -> None:
        firmware = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
        assert probe(write_tree(tmp_path, {firmware: bits})).thermal_throttled.value is throttled

    def test_jetson(self) -> None:
        hardware = probe(SYSROOTS / "jetson-orin")
        (gpu,) = hardware.accelerators
        assert hardware.board.value == "NVIDIA Jetson Orin Nano Developer Kit"
        assert (gpu.vendor, gpu.name.value, gpu.compute_capability.value) == ("nvidia", "Orin GPU (Ampere)", "8.7")
        assert gpu.apis == ("cuda",)
        assert gpu.integrated.value is True
        assert not gpu.memory_total_bytes.known
        assert hardware.memory.unified.value is True
        assert hardware.cpu.physical_cores.value == 6
        assert not hardware.cpu.sockets.known, "clusters of cores are no sockets"
        assert hardware.thermal_celsius.value == 48.718, "a sensor that is off does not count"


class TestLaptop:
    def test_cores_of_both_kinds(self, laptop: Hardware) -> None:
        cpu = laptop.cpu
        assert (cpu.physical_cores.value, cpu.logical_cores.value) == (12, 16)
        assert (cpu.performance_cores.value, cpu.efficiency_cores.value) == (4, 8)
        assert cpu.max_frequency_hz.value == 4_800_000_000
        assert cpu.microarchitecture.value == "alderlake"

    def test_caches_are_counted_by_who_shares_them(self, laptop: Hardware) -> None:
        assert laptop.cpu.caches == (
            Cache(1, "data", 32 << 10, 8),
            Cache(1, "data", 48 << 10, 4),
            Cache(2, "unified", 2 << 20, 6),
            Cache(3, "unified", 12 << 20, 1),
        )

    def test_gpu_and_npu(self, laptop: Hardware) -> None:
        gpu, npu = laptop.accelerators
        assert (gpu.kind, gpu.vendor, gpu.name.value) == ("gpu", "intel", "Meteor Lake-P [Intel Graphics]")
        assert (gpu.driver.value, gpu.integrated.value, gpu.apis) == ("i915", True, ("vulkan",))
        assert (npu.kind, npu.vendor, npu.name.value) == ("npu", "intel", "Intel NPU")
        assert laptop.memory.unified.value is True

    def test_power_and_heat(self, laptop: Hardware) -> None:
        assert laptop.power_source.value == "battery", "the mouse's battery is not the laptop's"
        assert laptop.thermal_celsius == Fact(61.0, "/sys/class/thermal/thermal_zone1/temp")
        assert laptop.thermal_throttled.value is True
        assert laptop.virtualization.value == "none"


class TestServer:
    def test_sockets_cores_and_threads(self, many_sockets: Hardware) -> None:
        cpu = many_sockets.cpu
        assert (cpu.sockets.value, cpu.physical_cores.value, cpu.logical_cores.value) == (4, 32, 64)
        assert (cpu.performance_cores.value, cpu.efficiency_cores.value) == (32, 0)
        assert cpu.caches == (Cache(2, "unified", 1 << 20, 32), Cache(3, "unified", 256 << 20, 4))

    def test_gpus_with_and_without_a_driver(self, many_sockets: Hardware) -> None:
        amd, nvidia = many_sockets.accelerators
        assert (amd.vendor, amd.integrated.value, amd.apis) == ("amd", False, ("rocm",))
        assert amd.memory_total_bytes.value == 64 * GIB
        assert amd.memory_free_bytes.value == 63 * GIB
        assert (nvidia.vendor, nvidia.driver.value, nvidia.apis) == ("nvidia", None, ())
        assert not nvidia.memory_total_bytes.known
        assert many_sockets.memory.unified.value is False

    def test_a_filler_is_no_name(self, many_sockets: Hardware) -> None:
        assert many_sockets.board.value == "Supermicro H13DSG"

    def test_never_throttled(self, many_sockets: Hardware) -> None:
        assert many_sockets.thermal_throttled.value is False

    def test_without_sysfs_cpuinfo_tells_the_cores(self, tmp_path: Path) -> None:
        blocks = [
            f"processor : {cpu}\nphysical id : {cpu % 2}\ncore id : {cpu // 2 % 3}\nflags : lm" for cpu in range(12)
        ]
        cpu = probe(write_tree(tmp_path, {"proc/cpuinfo": "\n\n".join(blocks)})).cpu
        assert (cpu.sockets.value, cpu.physical_cores.value, cpu.logical_cores.value) == (2, 6, 12)


class TestOtherMachines:
    def test_arm_with_three_kinds_of_cores(self, tmp_path: Path) -> None:
        parts = {0: "0xd05", 1: "0xd05", 2: "0xd0b", 3: "0xd44"}
        capacities = {0: "250", 1: "250", 2: "800", 3: "1024"}
        files: dict[str, str | bytes] = {
            "proc/cpuinfo": "\n\n".join(
                f"processor : {cpu}\nFeatures : asimd asimddp{' i8mm' if cpu > 1 else ''}\n"
                f"CPU implementer : 0x41\nCPU part : {part}"
                for cpu, part in parts.items()
            )
        }
        for cpu, capacity in capacities.items():
            files[f"{CPUS}/cpu{cpu}/topology/core_cpus_list"] = str(cpu)
            files[f"{CPUS}/cpu{cpu}/cpu_capacity"] = capacity
        cpu = probe(write_tree(tmp_path, files)).cpu
        assert (cpu.performance_cores.value, cpu.efficiency_cores.value) == (2, 2)
        assert cpu.model.value == "Cortex-A55 + Cortex-A76 + Cortex-X1"
        assert cpu.microarchitecture.value == "cortex_x1"
        assert cpu.instruction_sets.value == ("neon", "dotprod"), "only what every core has"

    def test_wsl(self, tmp_path: Path) -> None:
        release = "5.15.153.1-microsoft-standard-WSL2"
        hardware = probe(write_tree(tmp_path, {"proc/sys/kernel/osrelease": release}))
        assert (hardware.wsl.value, hardware.virtualization.value) == (True, "hyperv")

    def test_nvidia_driver_files_name_the_gpu(self, tmp_path: Path) -> None:
        driver = "proc/driver/nvidia"
        files = {
            f"{driver}/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Fri",
            f"{driver}/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ: 1",
            "proc/meminfo": meminfo(1000, 500),
        }
        (gpu,) = probe(write_tree(tmp_path, files)).accelerators
        assert (gpu.name.value, gpu.driver.value) == ("NVIDIA GeForce RTX 4090", "570.86.15")
        assert not gpu.memory_total_bytes.known

    def test_amd_processor_with_graphics_has_no_memory_of_its_own(self, tmp_path: Path) -> None:
        device = "sys/class/drm/card0/device"
        files: dict[str, str | bytes] = {
            f"{device}/vendor": "0x1002",
            f"{device}/device": "0x164e",
            f"{device}/uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:0f:00.0",
            f"{device}/mem_info_vram_total": str(512 << 20),
            f"{device}/gpu_metrics": bytes((0x80, 0, 2, 4)),
        }
        hardware = probe(write_tree(tmp_path, files))
        (gpu,) = hardware.accelerators
        assert gpu.integrated.value is True
        assert not gpu.memory_total_bytes.known
        assert gpu.name.value == "amd GPU [1002:164e]"
        assert hardware.memory.unified.value is True

    def test_an_empty_folder_is_a_machine_of_unknowns(self, tmp_path: Path) -> None:
        hardware = probe(tmp_path)
        lines = {line.label: line.text for line in describe(hardware)}
        assert hardware.name == tmp_path.name
        assert not hardware.os.known
        assert not hardware.cpu.logical_cores.known
        assert not hardware.memory.usable_bytes.known
        assert lines["Memory"] == lines["Processor"] == lines["Disk free"] == "unknown"
        assert lines["Cores"] == "unknown cores, unknown threads"

    def test_no_folder_is_an_error_with_a_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            probe(tmp_path / "missing")
        assert caught.value.remedy


def test_every_line_of_every_machine_has_a_text(laptop: Hardware, many_sockets: Hardware) -> None:
    machines = [probe(folder) for folder in sorted(SYSROOTS.iterdir())]
    for hardware in (*machines, laptop, many_sockets):
        for line in describe(hardware):
            assert line.text.strip(), line.label
            assert line.text != "None", line.label


def test_the_table_says_what_people_ask(laptop: Hardware) -> None:
    lines = {line.label: line for line in describe(laptop)}
    assert lines["Cores"].text == "12 cores, 4 performance + 8 efficiency, 16 threads"
    assert lines["GPU"].text == "Meteor Lake-P [Intel Graphics], integrated, vulkan"
    assert lines["NPU"].text == "Intel NPU"
    assert lines["Memory"].source == "/proc/meminfo MemTotal"
    assert lines["Slowed by heat"].text == "yes"


def test_a_measurement_is_shown_with_its_date(laptop: Hardware) -> None:
    throughput = Throughput(
        memory_bytes_per_s=Fact(50.4e9, "measured"), float32_ops_per_s=Fact(231.6e9, "measured"), measured_at="today"
    )
    lines = {line.label: line.text for line in describe(replace(laptop, throughput=throughput))}
    assert lines["Memory bandwidth"] == "50.4 GB/s"
    assert lines["32-bit floats"] == "232 billion operations/s"
    assert lines["8-bit integers"] == "unknown"
    assert lines["Measured"] == "today"
