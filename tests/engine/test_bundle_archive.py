"""The bundle's file: what was packed comes out, and whatever else somebody may hand over is refused."""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.bundles import archive
from engine.bundles.listing import LISTING, Bundle, Content, Member, Need, decode, encode
from engine.bundles.target import Target
from engine.errors import InputError, ResourceError

from .package_index import Reporter

LONG = "wheels/" + "a" * 120 + "-1.0-py3-none-any.whl"
FILES = {
    "install.py": b"print('hello')\n",
    "wheels/edgewise-1-py3-none-any.whl": b"wheel" * 1000,
    LONG: b"",
    "artifacts/1/manifest.json": b"{}",
    "artifacts/1/deep/model.bin": bytes(range(256)) * 40,
}


def bundle(files: dict[str, bytes] = FILES, **changed: Any) -> Bundle:
    members = tuple(Member(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in files.items())
    facts: dict[str, Any] = {
        "edgewise": "1",
        "created_at": 1.5,
        "target": Target("linux", "x86_64", "glibc 2.36", "3.11"),
        "needs": (Need("openvino-run", "openvino", "run", "auto", "0" * 64),),
        "contents": (Content("artifacts/1", "artifact", "tiny-int4"),),
        "own": ("wheels/edgewise-1-py3-none-any.whl",),
        "files": members,
    }
    return Bundle(**facts | changed)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    sources = {}
    for number, (name, body) in enumerate(FILES.items()):
        sources[name] = tmp_path / f"source{number}"
        sources[name].write_bytes(body)
    path = tmp_path / "bundle.tar"
    archive.write(path, bundle(), sources, Reporter())
    return path


def refused(path: Path, tmp_path: Path, why: str) -> None:
    """The bundle is refused for this reason, and nothing of it is left."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        archive.unpack(path, tmp_path / "staging" / "out", Reporter())
    assert re.search(why, caught.value.why), caught.value.why
    assert caught.value.remedy
    assert not (tmp_path / "staging" / "out").exists()
    assert [one for one in sorted(tmp_path.rglob("*")) if one.is_file()] == [one for one in before if one.is_file()]


def rewritten(path: Path, change: Callable[[tarfile.TarFile, tarfile.TarInfo, bytes], None]) -> None:
    """Write the bundle again with Python's own tar, letting `change` put each member in."""
    content = path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as new:
        for member in old.getmembers():
            file = old.extractfile(member)
            assert file is not None
            change(new, member, file.read())


def put(new: tarfile.TarFile, member: tarfile.TarInfo, body: bytes) -> None:
    member.size = len(body)
    new.addfile(member, io.BytesIO(body))


class TestRoundTrip:
    def test_everything_comes_out_and_tar_reads_it(self, packed: Path, tmp_path: Path) -> None:
        meter = Reporter()
        found = archive.unpack(packed, tmp_path / "out", meter)
        assert found == bundle() == archive.read_listing(packed)
        files = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*")}
        assert {name: path.read_bytes() for name, path in files.items() if path.is_file()} == FILES
        assert meter.calls[-1][:2] == (found.size_bytes, found.size_bytes)
        with tarfile.open(packed) as plain:
            assert plain.getnames() == [LISTING, *FILES]
            assert all(member.isfile() and not member.mtime and member.mode == 0o644 for member in plain)

    def test_only_what_is_wanted_is_written_but_all_is_checked(self, packed: Path, tmp_path: Path) -> None:
        archive.unpack(packed, tmp_path / "out", Reporter(), lambda name: name == LONG)
        assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [LONG.rpartition("/")[2]]

    def test_what_changes_while_it_is_packed_is_refused(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"other")
        with pytest.raises(InputError, match="changed"):
            archive.write(tmp_path / "b.tar", bundle({"install.py": b"first"}), {"install.py": source}, Reporter())

    def test_what_is_there_already_is_left_alone(self, packed: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_bytes(b"mine")
        with pytest.raises(ResourceError, match="could not be unpacked"):
            archive.unpack(packed, tmp_path / "out", Reporter())
        assert (tmp_path / "out" / "mine").read_bytes() == b"mine"

    def test_a_full_disk_leaves_nothing(self, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
        with pytest.raises(ResourceError, match="not enough disk"):
            archive.unpack(packed, tmp_path / "out", Reporter())
        assert not (tmp_path / "out").exists()


class TestRefused:
    @pytest.mark.parametrize("cut", [100, 512, 3000, -11000, -10240])
    def test_cut_off(self, packed: Path, tmp_path: Path, cut: int) -> None:
        packed.write_bytes(packed.read_bytes()[:cut])
        refused(packed, tmp_path, "cut off|not begin|lacks|sha256")

    def test_one_wrong_byte(self, packed: Path, tmp_path: Path) -> None:
        content = packed.read_bytes()
        place = content.index(b"wheelwheel") + 700
        packed.write_bytes(content[:place] + b"X" + content[place + 1 :])
        refused(packed, tmp_path, "another sha256")

    @pytest.mark.parametrize(
        ("name", "why"),
        [("../evil", "does not name"), ("/etc/evil", "does not name"), ("wheels/more.whl", "does not name")],
    )
    def test_member_that_the_list_does_not_name(self, packed: Path, tmp_path: Path, name: str, why: str) -> None:
        def change(new: tarfile.TarFile, member: tarfile.TarInfo, body: bytes) -> None:
            put(new, member, body)
            if member.name == "install.py":
                put(new, tarfile.TarInfo(name), b"x")

        rewritten(packed, change)
        refused(packed, tmp_path, why)

    @pytest.mark.parametrize(
        ("kind", "why"),
        [
            (tarfile.SYMTYPE, "a link"),
            (tarfile.LNKTYPE, "a link"),
            (tarfile.CHRTYPE, "a device"),
            (tarfile.FIFOTYPE, "a pipe"),
            (tarfile.DIRTYPE, "a folder"),
            (tarfile.XHDTYPE, "unknown kind"),
        ],
    )
    def test_member_that_is_no_plain_file(self, packed: Path, tmp_path: Path, kind: bytes, why: str) -> None:
        def change(new: tarfile.TarFile, member: tarfile.TarInfo, body: bytes) -> None:
            if member.name == "install.py":
                member.type, member.linkname, member.size = kind, "/etc/passwd", 0
                new.addfile(member)
            else:
                put(new, member, body)

        rewritten(packed, change)
        refused(packed, tmp_path, why)

    def test_member_that_comes_twice(self, packed: Path, tmp_path: Path) -> None:
        rewritten(packed, lambda new, member, body: [put(new, member, body) for _ in range(1 + (member.name == LONG))])  # type: ignore[arg-type,return-value]
        refused(packed, tmp_path, "twice")

    def test_member_that_is_missing(self, packed: Path, tmp_path: Path) -> None:
        rewritten(packed, lambda new, member, body: put(new, member, body) if member.name != LONG else None)
        refused(packed, tmp_path, "lacks 1 of its 5 files")

    def test_member_of_another_size(self, packed: Path, tmp_path: Path) -> None:
        rewritten(packed, lambda new, member, body: put(new, member, body + b"x" * (member.name == LONG)))
        refused(packed, tmp_path, "its list says 0")

    def test_name_without_end(self, packed: Path, tmp_path: Path) -> None:
        content = packed.read_bytes()
        header = tarfile.TarInfo("././@LongLink")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
        end = 512 * (2 + len(encode(bundle())) // 512)
        packed.write_bytes(content[:end] + header.tobuf(tarfile.GNU_FORMAT) + content[end:])
        refused(packed, tmp_path, "unknown kind")

    @pytest.mark.parametrize("content", [b"", b"no tar" * 500, b"\0" * 4096])
    def test_no_bundle(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "b.tar").write_bytes(content)
        refused(tmp_path / "b.tar", tmp_path, "cut off|no tar|not begin")

    def test_no_file(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.tar", tmp_path):
            with pytest.raises(InputError, match="no bundle"):
                archive.read_listing(path)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_any_damage_is_a_stated_error_or_none(self, packed: Path, tmp_path: Path, data: st.DataObject) -> None:
        content = bytearray(packed.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (damaged := tmp_path / "damaged.tar").write_bytes(content)
        out = tmp_path / "out"
        try:
            archive.unpack(damaged, out, Reporter())
        except InputError:
            assert not out.exists()
        else:
            found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
            assert found == FILES
            archive.shutil.rmtree(out)


class TestListing:
    @pytest.mark.parametrize(
        "name",
        [
            "../evil", "wheels/../../evil", "/etc/evil", "wheels//a", "wheels/.", "c:/evil", "wheels\\..\\evil",
            "wheels/a\x1b[2J", "wheels/" + "a" * 300, "elsewhere/a", "evil.py", "", "WHEELS/a", "wheels/a\ud800",
            "wheels/EDGEWISE-1-py3-none-any.whl", "wheels/edgewise-1-py3-none-any.whl/inner",
        ],
    )  # fmt: skip
    def test_unsafe_names_are_refused(self, name: str) -> None:
        data = json.loads(encode(bundle()))
        data["files"].append({"path": name, "size_bytes": 1, "sha256": "0" * 64})
        with pytest.raises(ValueError, match="name"):
            decode(json.dumps(data).encode())

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("schema", 2), ("schema", None), ("target", None), ("target", {"os": "linux"}), ("needs", "x"),
            ("needs", [{}]), ("contents", [1]), ("own", [1]), ("own", ["wheels/none.whl"]), ("files", {}),
            ("files", []), ("edgewise", 1), ("created_at", "now"),
            ("contents", [{"folder": "wheels", "kind": "artifact", "name": "x"}]),
            ("contents", [{"folder": "artifacts/1", "kind": "artifact", "name": "../x"}]),
            ("contents", [{"folder": "artifacts/2", "kind": "artifact", "name": "x"}]),
            ("files", [{"path": "install.py", "size_bytes": -1, "sha256": "0" * 64}]),
            ("files", [{"path": "install.py", "size_bytes": True, "sha256": "0" * 64}]),
            ("files", [{"path": "install.py", "size_bytes": 1, "sha256": "none"}]),
        ],
    )  # fmt: skip
    def test_what_does_not_add_up_is_refused(self, key: str, value: object) -> None:
        data = json.loads(encode(bundle()))
        data[key] = value
        with pytest.raises(ValueError, match=r"list|format|name"):
            decode(json.dumps(data).encode())

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b"1" * 10_000])
    def test_no_json(self, content: bytes) -> None:
        with pytest.raises(ValueError, match=r"list"):
            decode(content)
