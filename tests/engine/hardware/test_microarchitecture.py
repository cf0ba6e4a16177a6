"""Naming processors, checked against the machines that archspec itself tests with."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.hardware.microarchitecture import instruction_sets, name_microarchitecture

SPEC = find_spec("archspec")
FOLDER = Path((SPEC.submodule_search_locations or [""])[0] if SPEC else "") / "json" / "tests" / "targets"
TARGETS = sorted(path for path in FOLDER.glob("linux-*") if "power" not in path.name and "u74" not in path.name)


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.name)
def test_agrees_with_archspec(path: Path) -> None:
    fields: dict[str, str] = {}
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if "isa" in fields:
        pytest.skip("RISC-V processors name themselves")
    family = "x86_64" if "flags" in fields else "aarch64"
    flags = frozenset((fields.get("flags") or fields["Features"]).split())
    vendor = fields.get("vendor_id") or fields["CPU implementer"]
    found = name_microarchitecture(family, vendor, flags, fields.get("CPU part", ""))
    assert found == path.name.split("-", 2)[2]


def test_an_unknown_family_has_no_name() -> None:
    assert name_microarchitecture("vax", "DEC", frozenset()) is None


def test_an_unknown_vendor_is_generic() -> None:
    flags = frozenset({"mmx", "sse", "sse2", "lm"})
    assert name_microarchitecture("x86_64", "NobodysChip", flags) == "x86_64"


def test_broken_data_leave_the_name_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.hardware.microarchitecture.find_spec", lambda _: None)
    assert name_microarchitecture("x86_64", "GenuineIntel", frozenset({"lm"})) is None


def test_instruction_sets_have_one_name_each() -> None:
    flags = frozenset({"neon", "asimd", "asimddp", "avx512f", "fpu"})
    assert sorted(instruction_sets(flags)) == ["avx512", "dotprod", "neon"]
