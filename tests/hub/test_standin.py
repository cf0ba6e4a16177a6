"""The stand-in hub against the real client: what the hub does, it does."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    BadRequestError,
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from tests.hub import makers
from tests.hub.client import environment
from tests.hub.contents import git_oid
from tests.hub.server import Hub

NAME = "acme/llama"


@pytest.fixture
def api(hub: Hub) -> HfApi:
    """The real client, turned towards the stand-in."""
    return HfApi(endpoint=hub.url)


@pytest.fixture
def weights(hub: Hub, tmp_path: Path) -> bytes:
    """The weights of a small llama that is in the hub."""
    facts = {"library": "transformers", "pipeline_tag": "text-generation", "downloads": 70}
    files = makers.llama(tmp_path / "llama")
    hub.add(NAME, files, licence="apache-2.0", languages=("en",), base_model="acme/base", **facts)
    return (tmp_path / "llama" / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("weights")
class TestSearch:
    @pytest.fixture(autouse=True)
    def others(self, hub: Hub) -> None:
        hub.add("acme/llama-gguf", makers.ggufs(), base_model=NAME, gguf=makers.gguf_summary(), downloads=900)
        hub.add("other/secret-llama", {"config.json": b"{}"}, private=True, readers=("ann",))
        hub.add(
            "other/mistral", makers.pickles(), downloads=5, gated="manual", safetensors={"parameters": {}, "total": 7e9}
        )
        hub.tokens["good"] = "ann"

    def found(self, api: HfApi, **query: object) -> list[str]:
        return [model.id for model in api.list_models(**query)]  # type: ignore[arg-type]

    def test_by_words_and_order(self, api: HfApi) -> None:
        assert self.found(api, search="llama", sort="downloads") == ["acme/llama-gguf", NAME]
        assert self.found(api, search="llama", sort="downloads", limit=1) == ["acme/llama-gguf"]
        assert self.found(api, search="nothing such") == []

    def test_by_what_they_are(self, api: HfApi) -> None:
        assert self.found(api, filter="gguf") == self.found(api, apps="llama.cpp") == ["acme/llama-gguf"]
        assert self.found(api, filter=["safetensors", "license:apache-2.0"], pipeline_tag="text-generation") == [NAME]
        assert self.found(api, filter=f"base_model:quantized:{NAME}") == ["acme/llama-gguf"]
        assert self.found(api, author="other") == self.found(api, gated=True) == ["other/mistral"]
        assert self.found(api, num_parameters="min:6B") == ["other/mistral"]

    def test_private_ones_only_for_their_readers(self, api: HfApi) -> None:
        assert "other/secret-llama" not in self.found(api)
        assert "other/secret-llama" in self.found(api, token="good")

    def test_page_by_page(self, hub: Hub, api: HfApi) -> None:
        hub.page_size = 2
        assert len(self.found(api)) == 3
        assert len(hub.asked("/api/models")) == 2

    def test_fields(self, api: HfApi) -> None:
        plain, full = (next(iter(api.list_models(search="llama-gguf", full=full))) for full in (False, True))
        assert plain.gated is None
        assert plain.siblings is None
        assert full.gated is False
        assert {one.rfilename for one in full.siblings or ()} >= {"llama-Q8_0.gguf"}
        expanded = next(iter(api.list_models(search="llama-gguf", expand=["gguf", "baseModels"])))
        assert expanded.gguf == makers.gguf_summary()
        assert expanded.tags is None
        assert expanded.base_models == {"relation": "quantized", "models": [{"id": NAME}]}

    def test_what_it_does_not_know_is_refused(self, api: HfApi) -> None:
        with pytest.raises(BadRequestError):
            self.found(api, inference="warm")


class TestDescription:
    def test_files_with_their_checksums(self, api: HfApi, weights: bytes) -> None:
        info = api.model_info(NAME, files_metadata=True, securityStatus=True)
        files = {one.rfilename: one for one in info.siblings or ()}
        assert files["model.safetensors"].size == len(weights)
        lfs = files["model.safetensors"].lfs
        assert lfs is not None
        assert lfs.sha256 == hashlib.sha256(weights).hexdigest()
        config = Path(hf_hub_download(NAME, "config.json", endpoint=api.endpoint)).read_bytes()
        assert files["config.json"].blob_id == git_oid(config)
        assert info.security_repo_status == {"scansDone": True, "filesWithIssues": []}

    @pytest.mark.usefixtures("weights")
    def test_facts(self, hub: Hub, api: HfApi) -> None:
        info = api.model_info(NAME)
        assert info.sha == hub.repositories[NAME].main.sha
        assert info.safetensors is not None
        assert info.safetensors.total == info.safetensors.parameters["BF16"] > 100_000
        assert (info.config or {})["architectures"] == ["LlamaForCausalLM"]
        assert info.card_data is not None
        assert info.card_data.license == "apache-2.0"
        assert {"license:apache-2.0", "en", "base_model:acme/base"} <= set(info.tags or ())
        assert (info.gated, info.private, info.downloads, info.library_name) == (False, False, 70, "transformers")

    def test_revisions(self, hub: Hub, api: HfApi) -> None:
        first, second = (hub.add(NAME, {"config.json": text}) for text in (b"{}", b'{"a": 1}'))
        other = hub.add(NAME, {"config.json": b"[]"}, branch="refs/pr/1")
        hub.repositories[NAME].git_tags["v1"] = first.sha
        named = {name: api.model_info(NAME, revision=name).sha for name in ("main", "v1", first.sha, "refs/pr/1")}
        assert named == {"main": second.sha, "v1": first.sha, first.sha: first.sha, "refs/pr/1": other.sha}
        assert Path(hf_hub_download(NAME, "config.json", revision="v1", endpoint=hub.url)).read_bytes() == b"{}"
        refs = api.list_repo_refs(NAME)
        assert {branch.name: branch.target_commit for branch in refs.branches}["main"] == second.sha
        assert [tag.target_commit for tag in refs.tags] == [first.sha]

    def test_tree(self, hub: Hub, api: HfApi) -> None:
        hub.page_size = 2
        hub.add(NAME, {"a/b/c.txt": b"c", "a/d.bin": b"d", "e.txt": b"e", "f.txt": b"f"})
        assert [entry.path for entry in api.list_repo_tree(NAME)] == ["a", "e.txt", "f.txt"]
        every = {entry.path: entry for entry in api.list_repo_tree(NAME, recursive=True, expand=True)}
        assert set(every) == {"a", "a/b", "a/b/c.txt", "a/d.bin", "e.txt", "f.txt"}
        assert every["a/d.bin"].lfs.sha256 == hashlib.sha256(b"d").hexdigest()  # type: ignore[union-attr]
        assert [entry.path for entry in api.list_repo_tree(NAME, "a/b")] == ["a/b/c.txt"]
        assert [entry.path for entry in api.get_paths_info(NAME, ["e.txt", "a", "none"])] == ["e.txt", "a"]
        with pytest.raises(RemoteEntryNotFoundError):
            list(api.list_repo_tree(NAME, "none"))

    def test_hostile_names_are_told_as_they_are(self, hub: Hub, api: HfApi) -> None:
        names = {"../evil.json", "a\x1b[31m.json", "x" * 300, "Config.json", "config.json", "模型.json", "a b%2f.json"}
        hub.add(NAME, dict.fromkeys(names, b"{}"))
        assert {one.rfilename for one in api.model_info(NAME).siblings or ()} == names
        assert {entry.path for entry in api.list_repo_tree(NAME, recursive=True)} == names | {".."}
        for name in names - {"../evil.json"}:
            assert get_session().get(hf_hub_url(NAME, name, endpoint=hub.url)).content == b"{}"
        with pytest.raises(RevisionNotFoundError):
            api.model_info(NAME, revision="模\r\nX-Bad: 1")


class TestDownload:
    def test_large_files_come_from_the_other_host_without_the_token(self, hub: Hub, weights: bytes) -> None:
        hub.tokens["good"] = "ann"
        path = hf_hub_download(NAME, "model.safetensors", endpoint=hub.url, token="good")
        assert Path(path).read_bytes() == weights
        head, get = hub.asked("model.safetensors")
        assert (head.method, head.host, head.status, head.headers["authorization"]) == (
            "HEAD",
            "hub",
            302,
            "Bearer good",
        )
        assert (get.method, get.host, get.status, get.sent) == ("GET", "cdn", 200, len(weights))
        assert "authorization" not in get.headers

    def test_the_other_host_wants_its_signature_and_no_token(self, hub: Hub, weights: bytes) -> None:
        where = get_hf_file_metadata(hf_hub_url(NAME, "model.safetensors", endpoint=hub.url)).location
        assert get_session().get(where).content == weights
        assert get_session().get(where.partition("?")[0]).status_code == 403
        assert get_session().get(where, headers={"Authorization": "Bearer good"}).status_code == 400

    def test_a_snapshot_of_several_files(self, hub: Hub, tmp_path: Path) -> None:
        files = makers.llama(tmp_path / "made", 4 * makers.MIB, shards=3)
        commit = hub.add(NAME, files)
        folder = Path(snapshot_download(NAME, endpoint=hub.url))
        assert folder.name == commit.sha
        assert {path.name for path in folder.iterdir()} == set(files)
        for shard in (tmp_path / "made").iterdir():
            assert (folder / shard.name).read_bytes() == shard.read_bytes()

    def test_metadata(self, hub: Hub, weights: bytes) -> None:
        found = get_hf_file_metadata(hf_hub_url(NAME, "model.safetensors", endpoint=hub.url))
        assert (found.size, found.etag) == (len(weights), hashlib.sha256(weights).hexdigest())
        assert found.commit_hash == hub.repositories[NAME].main.sha
        assert found.location.startswith(f"{hub.cdn_url}/cdn/")
        assert found.xet_file_data is None
        hub.xet = True
        assert get_hf_file_metadata(hf_hub_url(NAME, "model.safetensors", endpoint=hub.url)).xet_file_data is not None

    @pytest.mark.parametrize("shards", [1, 3])
    def test_safetensors_headers(self, hub: Hub, api: HfApi, tmp_path: Path, shards: int) -> None:
        hub.add(NAME, makers.llama(tmp_path / "made", shards=shards))
        found = api.get_safetensors_metadata(NAME)
        told = api.model_info(NAME).safetensors
        assert told is not None
        assert found.parameter_count == told.parameters
        assert len(found.files_metadata) == shards
        if found.sharded:
            assert api.get_sharded_safetensors_metadata(NAME) == found
        assert all(request.range for request in hub.asked(".safetensors", "GET", "cdn"))

    def test_the_clients_own_command(self, hub: Hub, weights: bytes, tmp_path: Path) -> None:
        command = [Path(sys.executable).with_name("hf"), "download", NAME, "model.safetensors", "--quiet"]
        home = tmp_path / "elsewhere"
        ended = subprocess.run(command, env=environment(hub, home), capture_output=True, text=True, check=True)
        blob = home / "hub" / "models--acme--llama" / "blobs" / hashlib.sha256(weights).hexdigest()
        assert blob.read_bytes() == weights
        assert ended.stdout.strip().endswith("model.safetensors")
        assert len(hub.requests) <= 4

    def test_as_a_proxy(self, hub: Hub, weights: bytes, tmp_path: Path) -> None:
        command = [Path(sys.executable).with_name("hf"), "download", NAME, "model.safetensors", "--quiet"]
        proxied = {"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": hub.url}
        subprocess.run(command, env=environment(hub, tmp_path / "proxied") | proxied, capture_output=True, check=True)
        assert {request.headers["host"] for request in hub.asked(host="hub")} == {"hub.invalid"}
        assert [request.method for request in hub.asked(host="cdn")] == ["GET"]
        assert hub.sent_bytes(".safetensors") == len(weights)


class TestRanges:
    def ask(self, hub: Hub, **headers: str) -> tuple[int, bytes, str | None]:
        hub.repositories.get(NAME) or hub.add(NAME, {"small.txt": bytes(range(100))})
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = get_session().get(f"{hub.url}/{NAME}/resolve/main/small.txt", headers=names)
        return answer.status_code, answer.content, answer.headers.get("Content-Range")

    def test_ranges(self, hub: Hub) -> None:
        assert self.ask(hub, Range="bytes=10-19") == (206, bytes(range(10, 20)), "bytes 10-19/100")
        assert self.ask(hub, Range="bytes=90-") == (206, bytes(range(90, 100)), "bytes 90-99/100")
        assert self.ask(hub, Range="bytes=-5") == (206, bytes(range(95, 100)), "bytes 95-99/100")
        assert self.ask(hub, Range="bytes=90-500") == (206, bytes(range(90, 100)), "bytes 90-99/100")
        assert self.ask(hub, Range="bytes=100-") == (416, b"", "bytes */100")
        assert self.ask(hub, Range="nonsense")[0] == 200

    def test_only_if_it_is_still_the_same(self, hub: Hub) -> None:
        same = f'"{git_oid(bytes(range(100)))}"'
        assert self.ask(hub, Range="bytes=10-19", If_Range=same)[0] == 206
        assert self.ask(hub, Range="bytes=10-19", If_Range='"another"')[0] == 200

    def test_compression_knows_no_ranges(self, hub: Hub) -> None:
        hub.compress = True
        assert self.ask(hub, Range="bytes=10-19") == (200, bytes(range(100)), None)
        assert self.ask(hub, Range="bytes=10-19", Accept_Encoding="identity")[0] == 206
        assert Path(hf_hub_download(NAME, "small.txt", endpoint=hub.url)).read_bytes() == bytes(range(100))


class TestAccess:
    @pytest.fixture(autouse=True)
    def users(self, hub: Hub) -> None:
        hub.tokens |= {"good": "ann", "strange": "bob"}

    def test_who_one_is(self, api: HfApi) -> None:
        assert api.whoami("good")["name"] == "ann"
        with pytest.raises(HfHubHTTPError, match="Invalid user token"):
            api.whoami("bad")

    def test_a_gated_repository_is_seen_but_not_read(self, hub: Hub, api: HfApi) -> None:
        hub.add(NAME, {"config.json": b"{}"}, gated="manual", readers=("ann",))
        assert api.model_info(NAME).gated == "manual"
        for token, status in ((False, 401), ("strange", 403)):
            with pytest.raises(GatedRepoError) as raised:
                hf_hub_download(NAME, "config.json", endpoint=hub.url, token=token)
            assert raised.value.response.status_code == status
            with pytest.raises(GatedRepoError):
                api.auth_check(NAME, token=token)
        api.auth_check(NAME, token="good")
        assert Path(hf_hub_download(NAME, "config.json", endpoint=hub.url, token="good")).read_bytes() == b"{}"

    def test_a_private_repository_does_not_exist_for_strangers(self, hub: Hub, api: HfApi) -> None:
        hub.add(NAME, {"config.json": b"{}"}, private=True, readers=("ann",))
        for name in (NAME, "acme/none"):
            for token, status in ((False, 401), ("strange", 404)):
                with pytest.raises(RepositoryNotFoundError) as raised:
                    api.model_info(name, token=token)
                assert raised.value.response.status_code == status
        assert api.model_info(NAME, token="good").private

    def test_a_wrong_token_opens_nothing_at_all(self, hub: Hub, api: HfApi) -> None:
        hub.add(NAME, {"config.json": b"{}"})
        with pytest.raises(HfHubHTTPError, match="Invalid credentials") as raised:
            api.model_info(NAME, token="bad")
        assert raised.value.response.status_code == 401

    def test_what_does_not_exist_and_what_was_closed(self, hub: Hub, api: HfApi) -> None:
        hub.add(NAME, {"config.json": b"{}"})
        with pytest.raises(RevisionNotFoundError):
            api.model_info(NAME, revision="none")
        with pytest.raises(RemoteEntryNotFoundError):
            hf_hub_download(NAME, "none.json", endpoint=hub.url)
        hub.repositories[NAME].disabled = True
        with pytest.raises(DisabledRepoError):
            api.model_info(NAME)
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download(NAME, "config.json", endpoint=hub.url, local_files_only=True)


class TestMakers:
    def test_sizes(self, tmp_path: Path) -> None:
        files = makers.llama(tmp_path, 100 * makers.MIB, shards=4)
        sizes = [path.stat().st_size for path in tmp_path.iterdir()]
        assert 90 * makers.MIB < sum(sizes) < 101 * makers.MIB
        assert len(sizes) == 4
        assert min(sizes) > 10 * makers.MIB
        assert sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir()) < 20 * makers.MIB
        assert "model.safetensors.index.json" in files

    def test_every_stretch_is_another(self, tmp_path: Path) -> None:
        makers.llama(tmp_path)
        whole = (tmp_path / "model.safetensors").read_bytes()
        data = whole[8 + int.from_bytes(whole[:8], "little") :]
        pages = [data[at : at + 512] for at in range(0, len(data), makers.PAGE_EVERY_BYTES)]
        assert len(set(pages)) == len(pages) > 10

    def test_our_own_readers_take_them(self, tmp_path: Path) -> None:
        from engine.models import read_card

        for name, content in makers.llama(tmp_path).items():
            if isinstance(content, bytes):
                (tmp_path / name).write_bytes(content)
        card = read_card(tmp_path)
        assert card.architecture == "llama"
        (tmp_path / "one.gguf").write_bytes(makers.ggufs()["llama-Q4_K_M.gguf"])  # type: ignore[arg-type]
        assert read_card(tmp_path / "one.gguf").parameters == makers.gguf_summary()["total"]
