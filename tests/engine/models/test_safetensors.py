import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.models.safetensors import find_shards, read_safetensors, read_shards

from .writers import TINY_SAFE, raw_safetensors, safetensors

WHOLE = safetensors(TINY_SAFE)


def refused(tmp_path: Path, data: bytes) -> InputError:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_safetensors(path)
    assert caught.value.why
    assert caught.value.remedy
    return caught.value


def header(entries: Any, data_bytes: int = 8) -> bytes:
    return raw_safetensors(json.dumps(entries).encode(), data_bytes)


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(WHOLE)
    tensors = {tensor.name: tensor for tensor in read_safetensors(path)}
    assert set(tensors) == set(TINY_SAFE)
    assert tensors["model.layers.0.mlp.down_proj.weight"].shape == (32, 64)
    assert sum(tensor.size_bytes for tensor in tensors.values()) == 11584


def test_scalars_empty_tensors_and_packed_types_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"a": ("I64", (), 8), "b": ("F16", (0, 4), 0), "c": ("F4", (4, 4), 8)}))
    assert [tensor.size_bytes for tensor in read_safetensors(path)] == [8, 0, 8]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\x01\x02", "first 8 bytes"),
        (b"\xff" * 16, "claims"),
        ((200_000_000).to_bytes(8, "little") + b"{}", "claims"),
        (WHOLE[:100], "claims"),
        (WHOLE[:-1], "should take"),
        (WHOLE + b"x", "should take"),
        (raw_safetensors(b"{", 0), "JSON"),
        (raw_safetensors(b"[]", 0), "no JSON object"),
        (raw_safetensors(b"\xff\xfe{}", 0), "JSON"),
        (raw_safetensors(b'{"a":' + b"[" * 200_000, 0), ""),
        (raw_safetensors(b'{"a":1,"a":2}', 0), "twice"),
        (header({"a": 1}), "not an object"),
        (header({"__metadata__": 1}), "__metadata__"),
        (header(entry(dtype="F99")), "unknown type"),
        (header(entry(dtype=["F32"])), "unknown type"),
        (header(entry(shape=[-2])), "no usable shape"),
        (header(entry(shape=[2.0])), "no usable shape"),
        (header(entry(shape=[True])), "no usable shape"),
        (header(entry(shape=[1] * 9)), "no usable shape"),
        (header(entry(shape=[10**30])), "no usable shape"),
        (header(entry(offsets=[0])), "no usable place"),
        (header(entry(offsets=[8, 0])), "does not match"),
        (header(entry(shape=[3])), "does not match"),
        (header(entry(shape=[1], dtype="F4", offsets=[0, 0])), "does not match"),
        (header(entry(offsets=[8, 16]), 16), "gap"),
        (header(entry() | {"b": entry(offsets=[4, 12])["a"]}, 12), "overlap"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, data: bytes, why: str) -> None:
    assert why in refused(tmp_path, data).why


def sharded(folder: Path, weight_map: Any) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_shards_are_found_through_the_index(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(safetensors({f"t{number}": ("F32", (2,), 8)}))
    shards = find_shards(sharded(tmp_path, {"t0": names[0], "t1": names[1]}))
    assert [shard.name for shard in shards] == names
    assert [tensor.name for tensor in read_shards(shards)] == ["t0", "t1"]


def test_missing_shards_are_listed_with_and_without_an_index(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00003.safetensors").write_bytes(WHOLE)
    with pytest.raises(InputError, match="2 of 3") as caught:
        find_shards(tmp_path)
    assert "model-00003-of-00003.safetensors" in caught.value.why
    with pytest.raises(InputError, match="1 of 2") as caught:
        find_shards(sharded(tmp_path, {"a": "gone.safetensors", "b": "model-00001-of-00003.safetensors"}))
    assert "gone.safetensors" in caught.value.why


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..\\x.safetensors", "x.bin"]
)
def test_an_index_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="outside"):
        find_shards(sharded(tmp_path, {"a": name}))


@pytest.mark.parametrize("weight_map", [None, {}, [], {"a": 1}])
def test_a_broken_index_is_refused(tmp_path: Path, weight_map: Any) -> None:
    with pytest.raises(InputError):
        find_shards(sharded(tmp_path, weight_map))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(WHOLE)
    with pytest.raises(InputError) as caught:
        read_shards(find_shards(tmp_path))
    assert "another file" in caught.value.why


@settings(max_examples=400, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutations_give_tensors_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    mutated = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 700))
        new = data.draw(
            st.sampled_from([b"\xff" * 8, b"\x00", b"9" * 30, b"-", b"[[", b'"', b"}", b"1e9"]) | st.binary(max_size=9)
        )
        mutated[at : at + (0 if data.draw(st.booleans()) else len(new))] = new
    path = tmp_path / "model.safetensors"
    path.write_bytes(mutated)
    tensors, failure = (), None
    try:
        tensors = read_safetensors(path)
    except InputError as error:
        failure = error
    assert sum(tensor.size_bytes for tensor in tensors) < len(mutated)
    assert failure is None or failure.why
