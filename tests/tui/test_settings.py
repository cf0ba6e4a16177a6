"""What is remembered between runs, and what happens when it cannot be."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InputError, ResourceError
from engine.settings import Settings, change_model_folders, load_settings, save_settings, settings_path


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("EDGEWISE_DATA", str(folder))
    return folder


def test_nothing_stored_gives_the_defaults() -> None:
    assert load_settings() == (Settings(), "")


def test_comes_back_as_it_was_stored(data: Path) -> None:
    stored = Settings(
        theme="light",
        low_bandwidth=True,
        keys={"app.help": "f2"},
        answers={"priority": "speed"},
        model="/m.gguf",
        framework="olive",
        precision="olive-int4",
        options={"olive-int4": {"group_size": "64"}},
        job="j",
        screen="plan",
    )
    save_settings(stored)
    assert load_settings() == (stored, "")
    assert [path.name for path in data.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'{"theme": 3}', b"\xff\xfe\x00", b"[" * 200_000, b'{"keys": {"a": null}}']
)
def test_a_broken_file_is_kept_aside_and_told(data: Path, broken: bytes) -> None:
    data.mkdir()
    settings_path().write_bytes(broken)
    settings, notice = load_settings()
    assert settings == Settings()
    assert "settings.json.broken" in notice
    assert settings_path().with_name("settings.json.broken").read_bytes() == broken
    assert load_settings() == (Settings(), "")


def test_a_folder_in_its_place_is_told(data: Path) -> None:
    settings_path().mkdir(parents=True)
    settings, notice = load_settings()
    assert settings == Settings()
    assert "could not be read" in notice
    with pytest.raises(ResourceError, match="could not be saved"):
        save_settings(settings)


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(ResourceError) as error:
        save_settings(Settings())
    assert "EDGEWISE_DATA" in error.value.remedy


def test_a_write_that_is_cut_off_leaves_the_old_settings(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_settings(Settings(theme="light"))

    def cut(self: Path, target: Path) -> Path:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(ResourceError):
        save_settings(Settings(theme="dark"))
    assert load_settings()[0].theme == "light"
    assert [path.name for path in data.iterdir()] == ["settings.json"]


@given(st.binary(max_size=200))
def test_no_bytes_can_stop_the_start(content: bytes) -> None:
    settings_path().parent.mkdir(exist_ok=True)
    settings_path().write_bytes(content)
    settings, _ = load_settings()
    assert isinstance(settings, Settings)


class TestModelFolders:
    def test_are_added_once_and_taken_out_again(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_settings(Settings(theme="light", model_folders=["~/old"]))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "models").mkdir()
        assert change_model_folders(["models"], []) == ""
        stored = Settings(theme="light", model_folders=["~/old", str(tmp_path / "models")])
        assert load_settings()[0] == stored
        written = settings_path().stat().st_mtime_ns
        change_model_folders([str(tmp_path / "x" / ".." / "models")], [])
        assert settings_path().stat().st_mtime_ns == written
        (tmp_path / "models").rmdir()
        change_model_folders([], ["models", str(tmp_path / "old")])
        assert load_settings()[0] == Settings(theme="light")

    def test_what_is_no_folder_or_was_not_added_is_refused_and_nothing_changed(self, tmp_path: Path) -> None:
        change_model_folders([str(tmp_path)], [])
        (tmp_path / "file.gguf").write_bytes(b"")
        for add, remove, why in (
            (["/nowhere/at/all"], [], "nothing at this path"),
            ([str(tmp_path / "file.gguf")], [], "is a file"),
            ([str(tmp_path.parent)], ["/nowhere"], f"Added are {tmp_path}, {tmp_path.parent}."),
        ):
            with pytest.raises(InputError) as caught:
                change_model_folders(add, remove)
            assert why in caught.value.why
            assert caught.value.remedy
        assert load_settings()[0].model_folders == [str(tmp_path)]

    @pytest.mark.skipif(os.name == "nt", reason="names are text there")
    def test_a_name_that_cannot_be_written_down(self, data: Path, tmp_path: Path) -> None:
        folder = os.fsdecode(bytes(tmp_path) + b"/\xff")
        os.mkdir(folder)
        with pytest.raises(InputError, match="could not be saved"):
            change_model_folders([folder], [])
        assert list(data.iterdir()) == []

    def test_broken_settings_are_kept_aside_and_told(self, data: Path, tmp_path: Path) -> None:
        data.mkdir()
        settings_path().write_bytes(b"{")
        assert "kept as" in change_model_folders([str(tmp_path)], [])
        assert load_settings()[0].model_folders == [str(tmp_path)]
