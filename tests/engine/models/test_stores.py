import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.models import list_folders, list_models, shelf, stores
from engine.models.local import read_card

from .writers import TINY_SAFE, gguf, model_folder, safetensors

COMMIT, OLDER = "a" * 40, "b" * 40
HEX = "c" * 64


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and no variable that leads elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LLAMA_CACHE",
                 "EDGEWISE_MODELS", "LOCALAPPDATA"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data").mkdir()
    return tmp_path


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def snapshot(cache: Path, repository: str, files: dict[str, bytes], commit: str = COMMIT, main: bool = True) -> Path:
    """A snapshot as the hub's client leaves it: links to blobs."""
    top = cache / f"models--{repository.replace('/', '--')}"
    folder = top / "snapshots" / commit
    for name, content in files.items():
        blob = write(top / "blobs" / f"{commit[:8]}-{name.replace('/', '-')}", content)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(os.path.relpath(blob, (folder / name).parent))
    if main:
        write(top / "refs" / "main", commit.encode())
    return folder


def hf_files(tensors: dict[str, Any] = TINY_SAFE) -> dict[str, bytes]:
    folder = model_folder(Path(os.environ["HOME"]) / "made", weights=safetensors(tensors))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    return files


def ollama(store: Path, manifest: str, *, blob: bytes | None = None, digest: str = HEX) -> None:
    """A model as Ollama leaves it; the blob may be there already."""
    if blob is not None:
        write(store / "blobs" / f"sha256-{digest}", blob)
    licence = {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "e" * 64}
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    write(store / "manifests" / manifest, json.dumps({"schemaVersion": 2, "layers": [licence, model]}).encode())


def origins() -> dict[str, str]:
    return {card.name: card.origin for card in list_models()[1:]}


class TestWhatIsFound:
    def test_every_store_is_looked_through(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        snapshot(home / ".cache" / "huggingface" / "hub", "org/Safe", hf_files())
        write(home / ".lmstudio" / "models" / "maker" / "Repo-GGUF" / "Studio-Q4_0.gguf", gguf())
        ollama(home / ".ollama" / "models", "registry.ollama.ai/library/llama3.2/1b", blob=gguf())
        write(home / ".cache" / "llama.cpp" / "org_repo_Cached-Q4_0.gguf", gguf())
        write(home / "mine" / "deep" / "Own.gguf", gguf())
        monkeypatch.setenv("EDGEWISE_MODELS", os.pathsep.join(["", "~/mine", str(home / "nowhere")]))
        assert origins() == {
            "Safe": stores.HUB_CACHE,
            "Studio": stores.LM_STUDIO,
            "llama3.2:1b": stores.OLLAMA,
            "org_repo_Cached": stores.LLAMA_CPP,
            "Own": stores.FOLDER,
        }

    def test_folders_from_the_settings(self, home: Path) -> None:
        write(home / "shelf" / "Own.gguf", gguf())
        write(home / "data" / "settings.json", json.dumps({"model_folders": [str(home / "shelf")]}).encode())
        assert origins() == {"Own": stores.FOLDER}
        write(home / "data" / "settings.json", b'{"model_folders": 3}')
        assert origins() == {}
        assert (home / "data" / "settings.json").exists()

    def test_the_folders_are_known_with_what_names_them(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        both, gone = home / "both", home / "gone"
        for folder in (both, home / ".ollama" / "models", home / "data" / "models"):
            folder.mkdir(parents=True)
        monkeypatch.setenv("EDGEWISE_MODELS", os.pathsep.join([str(gone), "~/both"]))
        write(home / "data" / "settings.json", json.dumps({"model_folders": [str(both)]}).encode())
        assert [(folder.path, folder.origin, folder.named_by) for folder in list_folders()] == [
            (home / "data" / "models", "local", ""),
            (home / ".ollama" / "models", stores.OLLAMA, ""),
            (gone, stores.FOLDER, stores.VARIABLE),
            (both, stores.FOLDER, stores.SETTING),
        ]

    @pytest.mark.parametrize(
        ("variables", "folder"),
        [
            ({"HF_HUB_CACHE": "{home}/x"}, "x"),
            ({"HF_HOME": "{home}/y"}, "y/hub"),
            ({"XDG_CACHE_HOME": "{home}/z"}, "z/huggingface/hub"),
            ({"HF_HOME": "~/w"}, "w/hub"),
        ],
    )
    def test_the_hub_cache_is_where_its_client_has_it(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(home=home))
        assert stores.hub_cache() == home / folder

    def test_a_cached_model_knows_its_repository_and_commit(self, home: Path) -> None:
        folder = snapshot(stores.hub_cache(), "org/Safe", hf_files())
        [card] = list_models()[1:]
        assert (card.repository, card.revision, card.path) == ("org/Safe", COMMIT, str(folder))

    def test_the_snapshot_that_main_means_comes_first(self, home: Path) -> None:
        other = dict(TINY_SAFE) | {"model.norm.weight": ("BF16", (32,), 64)}
        snapshot(stores.hub_cache(), "org/Safe", hf_files(), OLDER, main=False)
        folder = snapshot(stores.hub_cache(), "org/Safe", hf_files(other))
        os.utime(folder, (1, 1))
        assert [card.revision for card in list_models()[1:]] == [COMMIT]

    def test_gguf_files_of_a_repository_beside_its_configuration(self, home: Path) -> None:
        files = {"config.json": b"{}", "M-Q4_0.gguf": gguf(), "sub/M-Q8_0.gguf": gguf()}
        snapshot(stores.hub_cache(), "org/M-GGUF", files)
        assert {place.path.name for place in stores.list_places()} == {"M-Q4_0.gguf", "M-Q8_0.gguf"}
        assert "org/M-GGUF:sub/M-Q8_0.gguf" in {name for place in stores.list_places() for name in place.names}

    @pytest.mark.parametrize(
        ("manifest", "name"),
        [
            ("registry.ollama.ai/library/llama3.2/1b", "llama3.2:1b"),
            ("registry.ollama.ai/library/phi3/latest", "phi3:latest"),
            ("registry.ollama.ai/me/mine/v1", "me/mine:v1"),
            ("hf.co/org/Repo-GGUF/Q4_K_M", "hf.co/org/Repo-GGUF:Q4_K_M"),
        ],
    )
    def test_names_are_those_of_ollama(self, home: Path, manifest: str, name: str) -> None:
        ollama(home / "o", manifest, blob=gguf())
        [place] = stores.ollama_places(home / "o")
        assert place.name == name


class TestTheSameOnce:
    def test_one_file_under_several_names(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = home / ".ollama" / "models"
        ollama(store, "registry.ollama.ai/library/a/latest", blob=gguf())
        ollama(store, "registry.ollama.ai/library/b/latest")
        (home / "mine").mkdir()
        os.link(store / "blobs" / f"sha256-{HEX}", home / "mine" / "same.gguf")
        monkeypatch.setenv("EDGEWISE_MODELS", str(home / "mine"))
        assert origins() == {"a:latest": stores.OLLAMA}

    def test_what_lies_in_the_models_folder_is_the_user_s_own(self, home: Path) -> None:
        cached = write(home / ".cache" / "llama.cpp" / "x.gguf", gguf())
        (home / "data" / "models").mkdir()
        (home / "data" / "models" / "x.gguf").symlink_to(cached)
        assert origins() == {"x": "local"}

    def test_the_list_is_sorted_by_origin_then_name(self, home: Path) -> None:
        for name in ("b", "A", "c"):
            write(home / ".cache" / "llama.cpp" / f"{name}.gguf", gguf())
            write(home / ".lmstudio" / "models" / "m" / "r" / f"s{name}.gguf", gguf())
        assert [card.name for card in list_models()[1:]] == ["sA", "sb", "sc", "A", "b", "c"]


class TestNothingIsBelieved:
    def test_links_out_of_the_store_are_passed_over(self, home: Path) -> None:
        secret = write(home / "secret.gguf", gguf())
        cache = home / ".cache" / "llama.cpp"
        cache.mkdir(parents=True)
        (cache / "out.gguf").symlink_to(secret)
        (cache / "gone.gguf").symlink_to(cache / "nothing")
        (cache / "self.gguf").symlink_to("self.gguf")
        (cache / "folder").symlink_to(home)
        folder = snapshot(stores.hub_cache(), "org/Safe", hf_files())
        (folder / "tokenizer_config.json").symlink_to(write(home / "elsewhere.json", b"{}"))
        assert origins() == {}

    def test_a_link_by_way_of_another_link(self, home: Path) -> None:
        cache = home / ".cache" / "llama.cpp"
        write(home / "outside" / "real.gguf", gguf())
        cache.mkdir(parents=True)
        (cache / "way").symlink_to(home / "outside")
        (cache / "a.gguf").symlink_to("way/real.gguf")
        assert origins() == {}

    def test_loops_of_folders_end(self, home: Path) -> None:
        folder = home / ".lmstudio" / "models" / "a"
        write(folder / "x.gguf", gguf())
        (folder / "again").symlink_to(folder)
        assert origins() == {"x": stores.LM_STUDIO}

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"[]", b"{", b"\xff", b'{"layers": 3}', b'{"layers": [3, {}]}', b"[" * 100_000,
            b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../x"}]}',
            b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": 7}]}',
            b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:' + b"d" * 64 + b'"}]}',
        ],
    )  # fmt: skip
    def test_broken_manifests_are_passed_over(self, home: Path, text: bytes) -> None:
        store = home / ".ollama" / "models"
        ollama(store, "registry.ollama.ai/library/good/latest", blob=gguf())
        write(store / "manifests" / "registry.ollama.ai" / "library" / "bad" / "latest", text)
        assert origins() == {"good:latest": stores.OLLAMA}

    def test_names_cannot_command_the_terminal(self, home: Path) -> None:
        ollama(home / ".ollama" / "models", "registry.ollama.ai/library/a\x1b[31m/la\ntest", blob=gguf())
        write(home / ".cache" / "llama.cpp" / "b\x1b[31m.gguf", gguf())
        assert all(name.isprintable() for name in origins())
        assert len(origins()) == 2

    def test_folders_that_are_none_and_pipes(self, home: Path) -> None:
        write(home / ".ollama" / "models", b"a file")
        (home / ".cache" / "llama.cpp").mkdir(parents=True)
        os.mkfifo(home / ".cache" / "llama.cpp" / "pipe.gguf")
        write(home / ".cache" / "llama.cpp" / "broken.gguf", b"GGUF")
        write(home / ".cache" / "huggingface" / "hub" / "models--a--b--c--d" / "refs" / "main", b"x")
        write(home / ".cache" / "huggingface" / "hub" / "models--a--b" / "snapshots" / "..." / "x.gguf", gguf())
        assert origins() == {}

    def test_a_walk_ends(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stores, "_MAX_ENTRIES", 20)
        for number in range(40):
            write(home / "many" / f"{number:03}.gguf", gguf())
        assert len(list(stores.folder_places(home / "many", stores.FOLDER))) == 20


class TestCardsAreKept:
    @pytest.fixture
    def path(self, home: Path) -> Path:
        return write(home / ".cache" / "llama.cpp" / "x.gguf", gguf())

    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """The files whose headers were read."""
        opened: list[Path] = []
        monkeypatch.setattr("engine.models.find.read_card", lambda path: opened.append(path) or read_card(path))
        return opened

    def test_headers_are_read_once(self, path: Path, read: list[Path]) -> None:
        first = list_models()
        assert list_models() == first
        assert read == [path]

    def test_a_changed_file_is_read_again(self, path: Path, read: list[Path]) -> None:
        list_models()
        path.write_bytes(gguf() + b"\0")
        list_models()
        path.write_bytes(b"GGUF")
        assert len(list_models()) == 1
        assert len(list_models()) == 1
        assert len(read) == 3

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version": "x", "cards": {}}', b"[" * 100_000])
    def test_a_broken_or_foreign_cache_is_read_anew(self, path: Path, read: list[Path], content: bytes) -> None:
        list_models()
        write(path.parents[2] / "data" / "cache" / shelf.FILE_NAME, content)
        assert len(list_models()) == 2
        assert len(read) == 2

    def test_a_data_folder_that_is_not_there_is_not_made(self, home: Path, path: Path) -> None:
        (home / "data").rmdir()
        assert len(list_models()) == 2
        assert not (home / "data").exists()

    def test_the_cache_is_bounded(self, home: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shelf, "_MAX_CARDS", 3)
        for number in range(6):
            write(path.with_name(f"{number}.gguf"), gguf())
        assert len(list_models()) == 8
        kept = json.loads((home / "data" / "cache" / shelf.FILE_NAME).read_bytes())
        assert len(kept["cards"]) == 3
