import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.models.gguf import ArrayLength, read_gguf
from engine.models.local import read_card

from .writers import TINY_METADATA, TINY_TENSORS, gguf, text, value

WHOLE = gguf()


def refused(tmp_path: Path, data: bytes) -> InputError:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_gguf(path)
    assert caught.value.what
    assert caught.value.why
    assert caught.value.remedy
    return caught.value


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE)
    header = read_gguf(path)
    assert header.version == 3
    assert header.metadata["llama.block_count"] == 1
    assert header.metadata["tokenizer.ggml.tokens"] == ArrayLength(3)
    assert header.metadata["tokenizer.ggml.scores"] == (0.0, 1.0, 2.0)
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in header.tensors] == TINY_TENSORS
    assert header.tensors[0].size_bytes == 3 * 34
    assert header.file_bytes == len(WHOLE)


def test_version_2_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(version=2))
    assert read_gguf(path).version == 2


def test_another_alignment_is_used(tmp_path: Path) -> None:
    data = gguf(TINY_METADATA | {"general.alignment": 64}, TINY_TENSORS[:1])
    path = tmp_path / "model.gguf"
    path.write_bytes(data + bytes(64))
    assert len(read_gguf(path).tensors) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"GGU", "begins with"),
        (b"PK\x03\x04" + bytes(64), "begins with"),
        (bytes(64), "begins with"),
        (b"GGUF", "ends"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "big-endian"),
        (gguf(version=1), "version 1"),
        (gguf(version=9), "version 9"),
        (gguf(keys=1 << 60), "metadata keys"),
        (gguf(count=1 << 60), "tensors"),
        (gguf(count=50_000_000), "tensors"),
        (WHOLE[:-200], "file has"),
        (WHOLE[:300], "ends"),
        (gguf(tensors=[*TINY_TENSORS, TINY_TENSORS[0]]), "twice"),
        (gguf(tensors=[("a" * 64, "F32", (1,))]), "claims 64 bytes"),
        (gguf(tensors=[("a", "F32", (1, 1, 1, 1, 1))]), "5 dimensions"),
        (gguf(tensors=[("a", "F32", (4, 0))]), "impossible shape"),
        (gguf(tensors=[("a", "Q4_0", (33,))]), "multiple"),
        (gguf(TINY_METADATA | {"general.alignment": 24}), "power of two"),
        (gguf(TINY_METADATA | {"general.alignment": 0}), "power of two"),
        (gguf(TINY_METADATA | {"": 1}), "empty"),
        (gguf(TINY_METADATA | {"x": struct.pack("<I", 99)}), "unknown type"),
        (gguf({"x": struct.pack("<IQ", 8, 1 << 50)}), "claims"),
        (gguf({"x": struct.pack("<IIQ", 9, 4, 1 << 50)}), "claims"),
        (gguf({"x": struct.pack("<IIQ", 9, 8, 1 << 50)}), "strings"),
        (gguf({"x": struct.pack("<IIQQ", 9, 8, 2, (1 << 64) - 1) + bytes(32)}), "reaches beyond"),
        (gguf({"x": struct.pack("<IIQ", 9, 9, 1)}), "unknown type"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, data: bytes, why: str) -> None:
    assert why in refused(tmp_path, data).why


def test_duplicate_keys_are_refused(tmp_path: Path) -> None:
    pair = text("general.name") + value("x")
    assert "twice" in refused(tmp_path, b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + pair + pair).why


def test_absurd_dimensions_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    info = text("a") + struct.pack("<IQQQQIQ", 4, *(4 * [(1 << 62)]), 0, 0)
    error = refused(tmp_path, b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + info + bytes(64))
    assert "impossible shape" in error.why


def test_unknown_weight_types_and_offsets_are_refused(tmp_path: Path) -> None:
    start = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("a")
    assert "weight type 77" in refused(tmp_path, start + struct.pack("<IQIQ", 1, 32, 77, 0) + bytes(256)).why
    assert "is due" in refused(tmp_path, start + struct.pack("<IQIQ", 1, 32, 0, 32) + bytes(256)).why


def test_names_from_the_file_cannot_command_the_terminal(tmp_path: Path) -> None:
    error = refused(tmp_path, gguf(tensors=[("\x1b[2Jx\n", "F32", (4, 0))]))
    assert "\x1b" not in str(error)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, tmp_path / "missing.gguf", Path("a\0b.gguf")):
        with pytest.raises(InputError):
            read_gguf(path)


def test_a_header_larger_than_the_first_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.models.gguf._FIRST_READ_BYTES", 16)
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE)
    assert len(read_gguf(path).tensors) == len(TINY_TENSORS)


def test_an_oversized_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.models.gguf._FIRST_READ_BYTES", 64)
    monkeypatch.setattr("engine.models.gguf._MAX_HEADER_BYTES", 256)
    assert "larger than 256 B" in refused(tmp_path, WHOLE).why


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    # Behind the last tensor lies padding, which may be missing.
    padding = -TINY_TENSORS[-1][2][1] * 18 * TINY_TENSORS[-1][2][0] // 32 % 32
    path = tmp_path / "model.gguf"
    for length in [*range(0, 400, 7), *range(400, len(WHOLE) - padding, 131), len(WHOLE) - padding - 1]:
        path.write_bytes(WHOLE[:length])
        with pytest.raises(InputError):
            read_gguf(path)


@settings(max_examples=400, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutations_give_a_card_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    header_bytes = 1100
    mutated = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, header_bytes))
        new = data.draw(
            st.sampled_from([b"\xff", b"\x00", b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x01"]) | st.binary(max_size=9)
        )
        mutated[at : at + (0 if data.draw(st.booleans()) else len(new))] = new
    path = tmp_path / "model.gguf"
    path.write_bytes(mutated)
    failure = None
    tracemalloc.start()
    try:
        read_card(path)
    except InputError as error:
        failure = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20
    assert failure is None or (failure.why and "\x1b" not in str(failure))
