"""Whatever lies in a copied tree, it gives facts or unknowns, never a crash and never a zero for an unknown."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.hardware import describe, probe
from engine.hardware.facts import Hardware
from engine.hardware.files import MAX_FILE_BYTES, Tree, clean, cpu_list, whole_number
from engine.text import printable
from tests.engine.hardware.trees import SYSROOTS, hybrid_laptop, write_tree


def files_under(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def check(hardware: Hardware) -> None:
    """What holds for every machine, however it was read."""
    cpu, memory = hardware.cpu, hardware.memory
    positive = [
        cpu.sockets, cpu.physical_cores, cpu.logical_cores, cpu.usable_cores, cpu.max_frequency_hz,
        memory.total_bytes, memory.limit_bytes, *(device.memory_total_bytes for device in hardware.accelerators),
    ]  # fmt: skip
    for fact in positive:
        assert fact.value is None or 0 < fact.value < 1 << 63
    if cpu.performance_cores.known:
        assert cpu.performance_cores.value or cpu.efficiency_cores.value
    for cache in cpu.caches:
        assert cache.size_bytes > 0
        assert cache.instances > 0
    content = msgspec.json.encode(hardware)
    assert msgspec.json.decode(content, type=Hardware) == hardware
    for line in describe(hardware):
        assert printable(line.text + line.source, keep="") == line.text + line.source
    for text in texts(msgspec.to_builtins(hardware)):
        assert printable(text, keep="") == text
        assert len(text) < 1024


def texts(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from texts(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from texts(value)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hybrid_laptop(tmp_path_factory.mktemp("laptop"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50).map(str.encode)
LIKELY = st.sampled_from(
    [b"", b"0", b"-1", b"max", b"\x00", b"0-99999999999", b"1" * 30, b"\xff\xfe", b"\x1b[2J", b"0::/../..",
     b"MemTotal: 0 kB", b"MemTotal: 99999999999999999999 kB", "\u202e١٢".encode(), b": : :\n\n:\n", b"a=b=c\n=\n",
     b"processor : 0\nflags :\n", b"max max max", b"1 0", b"Features :"]
)  # fmt: skip


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Copies of all machines, to be broken and mended."""
    folder = tmp_path_factory.mktemp("machines")
    copies = [Path(shutil.copytree(machine, folder / machine.name)) for machine in sorted(SYSROOTS.iterdir())]
    return [*copies, hybrid_laptop(folder / "laptop")]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_in_any_file(machines: list[Path], data: st.DataObject) -> None:
    root = data.draw(st.sampled_from(machines))
    changed = data.draw(st.lists(st.sampled_from(files_under(root)), min_size=1, max_size=3, unique=True))
    before = {path: path.read_bytes() for path in changed}
    try:
        for path in changed:
            path.write_bytes(data.draw(st.one_of(LIKELY, st.binary(max_size=200), TEXT)))
        check(probe(root))
    finally:
        for path, content in before.items():
            path.write_bytes(content)


@pytest.mark.parametrize("machine", sorted(SYSROOTS.iterdir()), ids=lambda path: path.name)
def test_every_hand_written_machine_keeps_the_rules(machine: Path) -> None:
    check(probe(machine))


def test_this_machine_keeps_the_rules(tmp_path: Path) -> None:
    check(probe(write_to=tmp_path))


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\xff" * 100, b"\x1b]0;x\x07\n" * 20])
def test_the_same_rubbish_in_every_file(tmp_path: Path, laptop: Path, content: bytes) -> None:
    check(probe(write_tree(tmp_path, {str(path.relative_to(laptop)): content for path in files_under(laptop)})))


def test_folders_and_pipes_in_place_of_files(tmp_path: Path, laptop: Path) -> None:
    for number, path in enumerate(files_under(laptop)):
        place = tmp_path / path.relative_to(laptop)
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            place.mkdir()
        else:
            os.mkfifo(place)
    hardware = probe(tmp_path)
    check(hardware)
    assert not hardware.memory.total_bytes.known


def test_files_in_place_of_folders(tmp_path: Path) -> None:
    check(probe(write_tree(tmp_path, {"proc/self": "", "sys/devices/system/cpu": "x", "sys/class": ""})))


def test_links_stay_inside(tmp_path: Path) -> None:
    outside = write_tree(tmp_path / "outside", {"secret": "MemTotal: 1 kB", "meminfo": "MemTotal: 2 kB"})
    root = write_tree(tmp_path / "root", {"data/meminfo": "MemTotal: 4 kB", "proc/version": "Linux version 6.1 x"})
    links = {
        "proc/meminfo": "/data/meminfo",
        "absolute": str(outside / "secret"),
        "relative": "../outside/secret",
        "loop": "loop",
        "folder": str(outside),
        "endless": "/dev/zero",
        "up": "../../../../../../data",
    }
    for place, target in links.items():
        (root / place).symlink_to(target)
    tree = Tree(root)
    assert probe(root).memory.total_bytes.value == 4096
    assert tree.read_text("/up/meminfo") == "MemTotal: 4 kB"
    for path in ("/absolute", "/relative", "/loop", "/folder/secret", "/endless", "/../outside/secret"):
        assert tree.read_text(path) is None, path
    assert tree.names("/folder") == []
    assert not tree.exists("/folder/secret")


def test_devices_are_not_read() -> None:
    assert Tree().read_bytes("/dev/zero") is None
    assert Tree().read_bytes("/dev/null") is None


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    place = write_tree(tmp_path, {"proc/meminfo": ""}) / "proc" / "meminfo"
    with place.open("wb") as file:
        file.write(b"MemTotal: 4 kB\n")
        file.truncate(100 << 20)
    assert not probe(tmp_path).memory.total_bytes.known
    (tmp_path / "just").write_bytes(b"x" * MAX_FILE_BYTES)
    (tmp_path / "over").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    assert len(Tree(tmp_path).read_bytes("/just") or b"") == MAX_FILE_BYTES
    assert Tree(tmp_path).read_bytes("/over") is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    place = write_tree(tmp_path, {"proc/meminfo": "MemTotal: 4 kB"}) / "proc" / "meminfo"
    place.chmod(0)
    assert not probe(tmp_path).memory.total_bytes.known


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    write_tree(tmp_path, {"proc/meminfo": "MemTotal: 4 kB"})
    monkeypatch.setattr("engine.hardware.files.os.open", refuse)
    assert not probe(tmp_path).memory.total_bytes.known


def test_names_that_command_the_terminal_are_not_listed(tmp_path: Path) -> None:
    write_tree(tmp_path, {"sys/class/hailo_chardev/\x1b[2Jhailo0": "", "sys/class/hailo_chardev/hailo1": ""})
    assert Tree(tmp_path).names("/sys/class/hailo_chardev") == ["hailo1"]


@given(st.text(max_size=40))
def test_numbers(text: str) -> None:
    number = whole_number(text)
    assert number is None or (0 <= number < 1 << 60 and int(text) == number)


@given(st.sets(st.integers(0, 5000), max_size=50))
def test_cpu_lists(cpus: set[int]) -> None:
    assert cpu_list(",".join(map(str, sorted(cpus)))) == (cpus or None)


@pytest.mark.parametrize("text", ["", "0-", "-3", "3-1", "0-65536", "0-99999999999999", "0,,1", "a", "0-1-2"])
def test_what_is_no_cpu_list(text: str) -> None:
    assert cpu_list(text) is None


@given(st.text(max_size=400))
def test_clean_texts_are_short_and_printable(text: str) -> None:
    line = clean(text)
    assert line is None or (0 < len(line) <= 160 and printable(line, keep="") == line)
