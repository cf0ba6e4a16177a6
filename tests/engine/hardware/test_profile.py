"""Profiles: written, read back, and refused when they are not what they should be."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError, ResourceError
from engine.hardware import load_profile, probe, save_profile
from engine.hardware.facts import Hardware
from tests.engine.hardware.trees import SYSROOTS, hybrid_laptop


@pytest.mark.parametrize("machine", sorted(SYSROOTS.iterdir()), ids=lambda path: path.name)
def test_round_trip(tmp_path: Path, machine: Path) -> None:
    hardware = probe(machine)
    save_profile(hardware, tmp_path / "machine.json")
    assert load_profile(tmp_path / "machine.json") == hardware
    assert os.listdir(tmp_path) == ["machine.json"]


def test_round_trip_of_this_machine_and_a_laptop(tmp_path: Path) -> None:
    for hardware in (probe(write_to=tmp_path), probe(hybrid_laptop(tmp_path / "laptop"))):
        save_profile(hardware, tmp_path / "machine.json")
        assert load_profile(tmp_path / "machine.json") == hardware


def test_saving_where_one_cannot(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        save_profile(Hardware(), tmp_path / "missing" / "machine.json")
    assert caught.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": 99}',
        b'{"cpu": 3}',
        b'{"cpu": {"logical_cores": {"value": -4}}}',
        b'{"cpu": {"logical_cores": {"value": "many"}}}',
        b'{"memory": {"total_bytes": {"value": 9999999999999999999}}}',
        b'{"memory": {"total_bytes": {"value": 1e30}}}',
        b'{"name": "\\u001b[2J\\u001b[2J"}',
        b'{"board": {"value": "\\u001b]0;title\\u0007"}}',
        b'{"name": "' + b"x" * 5000 + b'"}',
        json.dumps({"accelerators": [{"kind": "gpu", "vendor": "x"}] * 1000}).encode(),
        b" " * (2 << 20),
    ],
    ids=range(17),
)
def test_broken_profiles_are_refused_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_profile(path)
    assert "--save" in caught.value.remedy
    assert "\x1b" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError):
            load_profile(path)


def test_a_cold_machine_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text('{"thermal_celsius": {"value": -12.5, "source": "x"}}')
    assert load_profile(path).thermal_celsius.value == -12.5


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_profile_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with suppress(InputError):
        assert isinstance(load_profile(path), Hardware)
