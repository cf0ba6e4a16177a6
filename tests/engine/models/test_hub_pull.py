"""Fetching from the hub: verified, continued, and complete or not there."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.errors import EdgewiseError, InputError, ResourceError
from engine.models.hub import cache, pull, receiving
from engine.models.hub.client import is_offline
from engine.models.hub.names import parse_reference
from engine.models.hub.repository import Repository, RepositoryFile, look_up
from tests.hub.client import environment
from tests.hub.contents import Content
from tests.hub.faults import FOREVER
from tests.hub.makers import ggufs, llama
from tests.hub.server import Hub

from .test_hub_cards import NotedReporter
from .test_hub_errors import TOKEN

WEIGHTS = "/cdn/*/model.safetensors"
MIB = 1 << 20
REFERENCE = parse_reference("org/name")


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, ours and the client's: noted, and hardly waited for."""
    pauses: list[float] = []
    never = threading.Event()

    def hardly(seconds: float) -> None:
        never.wait(min(seconds, 0.01))
        if seconds >= 1:  # a lock is looked at more often
            pauses.append(seconds)

    from huggingface_hub import constants

    monkeypatch.setattr(pull._Tally, "pause", lambda self, seconds: hardly(seconds))
    monkeypatch.setattr(time, "sleep", hardly)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    return pauses


@pytest.fixture
def model(hub: Hub, tmp_path: Path, paused: list[float]) -> Hub:
    """A hub with one model of 3 MB, whose weights are fetched one chunk at a time."""
    hub.add("org/name", llama(tmp_path / "m", 3 * MIB))
    return hub


def told() -> tuple[Repository, dict[str, Any]]:
    repository = look_up(REFERENCE)
    return repository, pull.pull_parameters(repository, REFERENCE)


def fetched(report: NotedReporter | None = None) -> Path:
    _, params = told()
    return Path(pull.pull(params, Path(), report or NotedReporter())["path"])


def failure() -> EdgewiseError:
    repository, params = told()
    with pytest.raises(EdgewiseError) as caught:
        pull.pull(params, Path(), NotedReporter())
    assert not cache.is_pulled(repository.id, repository.commit, files_of(params))
    assert caught.value.why
    assert caught.value.remedy
    return caught.value


def files_of(params: dict[str, Any]) -> tuple[RepositoryFile, ...]:
    return msgspec.convert(params["files"], tuple[RepositoryFile, ...])


def check(hub: Hub, folder: Path) -> None:
    """Every file is what the hub has, and nothing is left half made."""
    for name, content in hub.repositories["org/name"].main.files.items():
        assert (folder / name).read_bytes() == content.read(0, content.size_bytes)
    left = [path.name for path in cache.repository_folder("org/name").rglob("*.incomplete")]
    assert left == []


def weights_requests(hub: Hub) -> list[tuple[int, int]]:
    """Where each request for the weights began, and what was sent."""
    return [(request.start, request.sent) for request in hub.asked("/model.safetensors", "GET", "cdn")]


def test_a_model_comes_into_the_cache_that_other_tools_share(model: Hub) -> None:
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    report = NotedReporter()
    repository, params = told()
    folder = Path(pull.pull(params, Path(), report)["path"])
    check(model, folder)
    assert folder == cache.snapshot_folder("org/name", repository.commit)
    assert cache.is_pulled("org/name", repository.commit, files_of(params))
    assert report.stages == ["Downloading"]
    assert try_to_load_from_cache("org/name", "config.json") == str(folder / "config.json")
    assert (folder / "model.safetensors").resolve().parent.name == "blobs"
    model.requests.clear()
    assert snapshot_download("org/name", endpoint=model.url) == str(folder)
    assert model.asked("/model.safetensors", "GET") == []


def test_small_files_may_be_sent_compressed_to_others(model: Hub) -> None:
    model.compress = True
    check(model, fetched())


def test_what_is_there_is_not_fetched_again(model: Hub) -> None:
    first = fetched()
    model.requests.clear()
    assert fetched() == first
    assert [request.path for request in model.requests] == ["/api/models/org/name"]


def test_what_another_tool_has_fetched_is_verified_and_used(model: Hub) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download("org/name", endpoint=model.url)
    repository, params = told()
    assert not cache.is_pulled("org/name", repository.commit, files_of(params))
    assert pull.missing_bytes("org/name", repository.commit, files_of(params)) == 0
    model.requests.clear()
    folder = fetched()
    assert weights_requests(model) == []
    (folder / "model.safetensors").resolve().write_bytes(b"x" * (folder / "model.safetensors").stat().st_size)
    shutil.rmtree(os.environ["EDGEWISE_DATA"])
    check(model, fetched())


def test_a_file_that_was_removed_is_fetched_again(model: Hub) -> None:
    folder = fetched()
    (folder / "model.safetensors").resolve().unlink()
    repository, params = told()
    assert not cache.is_pulled("org/name", repository.commit, files_of(params))
    assert pull.missing_bytes("org/name", repository.commit, files_of(params)) == model_bytes(model)
    check(model, fetched())


def model_bytes(hub: Hub) -> int:
    return hub.repositories["org/name"].main.files["model.safetensors"].size_bytes


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("places", [[0], [1], [MIB - 1], [MIB], [2 * MIB + 7], [100_000, 0, 1_500_000, 7]])
def test_a_dropped_connection_is_continued(model: Hub, places: list[int], reset: bool) -> None:
    for number, place in enumerate(places):
        model.spoil(WEIGHTS, drop_after=place, reset=reset, skip=number)
    report = NotedReporter()
    check(model, fetched(report))
    starts = [start for start, _ in weights_requests(model)]
    assert len(starts) == len(places) + 1
    assert starts == sorted(starts)
    again = sum(sent for _, sent in weights_requests(model)) - model_bytes(model)
    # A reset takes with it what the system had received and nobody had read yet.
    assert reset or again <= receiving.CHUNK_BYTES * len(places)


def test_a_new_call_continues_where_the_last_one_gave_up(model: Hub) -> None:
    model.spoil(WEIGHTS, drop_after=2 * MIB + 5)
    model.spoil(WEIGHTS, drop_after=0, times=FOREVER, skip=1)
    error = failure()
    assert "broke off" in error.why
    assert "kept" in error.remedy
    model.faults.clear()
    model.requests.clear()
    repository, params = told()
    arrived = 2 * MIB // receiving.COLLECTED_BYTES * receiving.COLLECTED_BYTES
    assert pull.missing_bytes("org/name", repository.commit, files_of(params)) == model_bytes(model) - arrived
    check(model, fetched())
    assert [start for start, _ in weights_requests(model)] == [arrived]


def test_a_server_that_cannot_continue_begins_again(model: Hub) -> None:
    content = model.repositories["org/name"].main.files["model.safetensors"]
    partial = partial_file(content)
    partial.write_bytes(content.read(0, 1000))
    model.spoil(WEIGHTS, instead=Content("model.safetensors", content.read(0, content.size_bytes)))
    check(model, fetched())


def partial_file(content: Content) -> Path:
    blobs = cache.repository_folder("org/name") / "blobs"
    blobs.mkdir(parents=True)
    return blobs / f"{content.sha256}{cache.PARTIAL}"


@pytest.mark.parametrize("extra", [b"", b"and more"])
def test_a_partial_file_of_something_else_is_replaced(model: Hub, extra: bytes) -> None:
    content = model.repositories["org/name"].main.files["model.safetensors"]
    partial_file(content).write_bytes(b"x" * (content.size_bytes if extra else 1000) + extra)
    report = NotedReporter()
    check(model, fetched(report))
    assert any("once more" in note for note in report.notes)


@pytest.mark.parametrize("how", [{"corrupt_at": 5}, {"short_by": 100}])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_wrong_bytes_are_removed_and_asked_for_once_more(model: Hub, name: str, how: dict[str, int]) -> None:
    path = f"/cdn/*/{name}" if name == "model.safetensors" else f"*/resolve/*/{name}"
    model.spoil(path, **how)
    check(model, fetched())
    shutil.rmtree(cache.repository_folder("org/name"))
    model.spoil(path, times=FOREVER, **how)
    error = failure()
    assert name in error.what
    assert not (cache.repository_folder("org/name") / "snapshots" / "x").exists()


def test_a_file_that_changes_under_us_is_not_mixed(model: Hub) -> None:
    content = model.repositories["org/name"].main.files["model.safetensors"]
    other = Content("model.safetensors", b"y" * content.size_bytes)
    model.spoil(WEIGHTS, drop_after=1_500_000)
    model.spoil(WEIGHTS, instead=other, skip=1)
    check(model, fetched())
    shutil.rmtree(cache.repository_folder("org/name"))
    model.spoil(WEIGHTS, instead=other, times=FOREVER)
    assert "not the file that the hub has listed" in failure().what


def test_a_larger_file_than_was_listed_is_stopped(model: Hub) -> None:
    model.spoil(WEIGHTS, instead=Content("model.safetensors", b"y" * 40 * MIB), times=FOREVER)
    assert "not the file" in failure().what
    assert not list(cache.repository_folder("org/name").rglob("*.incomplete"))


def test_a_busy_hub_is_waited_for_and_this_is_said(model: Hub, paused: list[float]) -> None:
    model.spoil("*/resolve/*/model.safetensors", status=429, headers={"Retry-After": "33"}, times=2)
    report = NotedReporter()
    check(model, fetched(report))
    assert paused.count(34.0) == 2
    assert sum("34.0 s of silence" in note for note in report.notes) == 2


def test_trouble_of_the_hub_is_waited_out(model: Hub, paused: list[float]) -> None:
    model.spoil("*/resolve/*/model.safetensors", status=503, times=3)
    report = NotedReporter()
    check(model, fetched(report))
    assert paused == [1, 2, 4]
    assert sum("trouble (503)" in note for note in report.notes) == 3
    shutil.rmtree(cache.repository_folder("org/name"))
    model.spoil("*/resolve/*/model.safetensors", status=503, times=FOREVER)
    assert "trouble (503)" in failure().why


def test_a_silent_server_ends_with_a_stated_error(model: Hub) -> None:
    model.spoil(WEIGHTS, stall_after=1000, stall_s=30, times=FOREVER)
    assert "sent nothing" in failure().why


def test_a_gated_model_is_refused_without_the_token_in_sight(
    model: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.tokens[TOKEN] = "somebody"
    model.add("org/name", llama(tmp_path / "n"), gated="auto")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    error = failure()
    assert "conditions" in error.why
    assert TOKEN not in str(error)
    model.add("org/name", llama(tmp_path / "o"), readers=("somebody",))
    report = NotedReporter()
    check(model, fetched(report))
    assert all("authorization" not in request.headers for request in model.asked(host="cdn"))
    written = [*Path(os.environ["EDGEWISE_DATA"]).rglob("*"), *Path(os.environ["HF_HOME"]).rglob("*")]
    assert not any(TOKEN.encode() in path.read_bytes() for path in written if path.is_file())


def test_a_full_disk_is_said_before_anything_is_fetched(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = failure()
    assert "not enough disk space" in error.what
    assert "HF_HOME" in error.remedy
    assert weights_requests(model) == []


def test_a_cache_that_cannot_be_written_is_said(model: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert "HF_HOME" in failure().remedy


def test_names_that_leave_the_folder_are_refused(model: Hub) -> None:
    _, params = told()
    params["files"][0]["name"] = "../../../../x"
    with pytest.raises(InputError, match="not used"):
        pull.pull(params, Path(), NotedReporter())
    params["repository"] = "../x"
    with pytest.raises(InputError):
        pull.pull(params, Path(), NotedReporter())


def test_without_a_network_what_is_there_is_found(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, params = told()
    folder = fetched()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert is_offline()
    assert pull.pull(params, Path(), NotedReporter())["path"] == str(folder)
    card = pull.hub_card(REFERENCE)
    assert (card.path, card.repository, card.revision) == (str(folder), "org/name", repository.commit)
    assert cache.cached_snapshot(parse_reference(f"org/name@{repository.commit}")) == folder
    assert cache.cached_snapshot(parse_reference("org/name@v2")) is None
    (folder / "model.safetensors").resolve().unlink()
    with pytest.raises(ResourceError, match="not asked"):
        pull.pull(params, Path(), NotedReporter())


def test_one_precision_of_a_gguf_comes_alone(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    model.add("org/gguf", ggufs())
    reference = parse_reference("org/gguf:Q4_K_M")
    result = pull.pull(pull.pull_parameters(look_up(reference), reference), Path(), NotedReporter())
    path = Path(result["path"])
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["README.md", "llama-Q4_K_M.gguf"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull.hub_card(reference).path == str(path)
    with pytest.raises(InputError):
        pull.hub_card(parse_reference("org/gguf:Q8_0"))


def test_the_other_protocol_goes_through_the_client_alone(model: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "0")
    check(model, fetched())
    assert model.asked("/model.safetensors", "HEAD")


def test_two_pulls_at_once_fetch_everything_once(model: Hub) -> None:
    _, params = told()
    model.spoil(WEIGHTS, rate=6e6)
    threads = [threading.Thread(target=pull.pull, args=(params, Path(), NotedReporter())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(model, cache.snapshot_folder("org/name", params["commit"]))
    assert len(weights_requests(model)) == 1


PROGRAM = """
import sys, json
from pathlib import Path
from engine.models.hub.pull import pull
class Report:
    def stage(self, *told): pass
    def note(self, *told): pass
    def progress(self, done, **told): print(int(done), flush=True)
pull(json.loads(sys.argv[1]), Path(), Report())
"""


@pytest.fixture
def running(model: Hub, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_killed_pull_leaves_nothing_that_counts_and_is_continued(
    model: Hub, tmp_path: Path, running: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, params = told()
    for _ in range(3):
        model.spoil(WEIGHTS, rate=4e6)
        command = [sys.executable, "-c", PROGRAM, msgspec.json.encode(params).decode()]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment(model, tmp_path / "hf"), cwd=Path.cwd()
        )
        running.append(process)
        before = pull.missing_bytes("org/name", repository.commit, files_of(params))
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= sum(file.size_bytes for file in files_of(params)) - before + 700_000:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not cache.is_pulled("org/name", repository.commit, files_of(params))
    model.faults.clear()
    check(model, fetched())
    again = sum(sent for _, sent in weights_requests(model)) - model_bytes(model)
    assert again <= 3 * 2 * MIB  # what the connection itself held is counted, too
