"""Look-ups, searches and cards of models that were not fetched."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.errors import InputError
from engine.models.card import ModelCard
from engine.models.hub.headers import remote_card
from engine.models.hub.names import parse_reference
from engine.models.hub.pull import hub_card, pull, pull_parameters
from engine.models.hub.repository import look_up, search
from engine.models.local import read_card
from tests.engine.package_index import Reporter
from tests.hub.contents import Generated, Source
from tests.hub.makers import gguf_summary, ggufs, llama, pickles
from tests.hub.server import Hub

from .writers import TINY_METADATA, TINY_TENSORS, gguf, safetensors


class NotedReporter(Reporter):
    """A Reporter that can be told notes, too."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str, level: str = "info") -> None:
        self.notes.append(text)


def card(name: str) -> ModelCard:
    reference = parse_reference(name)
    return remote_card(look_up(reference), reference)


def pulled(name: str) -> ModelCard:
    reference = parse_reference(name)
    result = pull(pull_parameters(look_up(reference), reference), Path(), NotedReporter())
    return msgspec.structs.replace(read_card(Path(result["path"])), origin="hub")


def asked(hub: Hub) -> list[str]:
    """What the hub itself was asked for; where it sends to for large files is not counted again."""
    return [request.path for request in hub.requests if request.host == "hub"]


def moe(folder: Path) -> dict[str, Source]:
    """A mixture of four experts, two of which take part in a token, with a sliding window and a quantized licence."""
    config = {
        "model_type": "mixtral", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 4, "num_local_experts": 4,
        "num_experts_per_tok": 2, "sliding_window": 64, "max_position_embeddings": 128,
    }  # fmt: skip
    at = "model.layers.0"
    tensors: dict[str, tuple[str, tuple[int, ...], int]] = {
        "model.embed_tokens.weight": ("BF16", (4, 8), 64),
        "lm_head.weight": ("BF16", (4, 8), 64),
        f"{at}.block_sparse_moe.gate.weight": ("BF16", (4, 8), 64),
        **{f"{at}.block_sparse_moe.experts.{one}.w1.weight": ("BF16", (16, 8), 256) for one in range(4)},
    }
    readme = "---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\nlanguage: [en, 'de']\n---\n"
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors(tensors),
        "README.md": readme.encode(),
        "LICENSE.txt": b"All rights reserved.",
        "USE_POLICY.md": b"Be kind.",
    }


MAKERS: Mapping[str, Callable[[Path], dict[str, Source]]] = {
    "single": llama,
    "sharded": lambda folder: llama(folder, 4 << 20, shards=3),
    "experts": moe,
}


@pytest.mark.parametrize("maker", list(MAKERS))
def test_the_card_is_the_one_of_the_files_once_they_are_fetched(hub: Hub, tmp_path: Path, maker: str) -> None:
    front = {"license_name": "own", "license_link": "LICENSE"} if maker == "experts" else {}
    languages = ("en", "de") if maker == "experts" else ("en",)
    licence = "other" if maker == "experts" else "apache-2.0"
    commit = hub.add("org/name", MAKERS[maker](tmp_path / "m"), licence=licence, languages=languages, card=front)
    before = card("org/name")
    assert before == pulled("org/name")
    assert (before.origin, before.repository, before.revision) == ("hub", "org/name", commit.sha)
    assert before.path.endswith(f"/hub/models--org--name/snapshots/{commit.sha}")
    assert not before.estimated


def test_a_card_says_what_only_some_models_have(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/name", moe(tmp_path / "m"))
    found = card("org/name")
    assert found.active_parameters == found.parameters - 2 * 16 * 8
    assert found.sliding_window == 64
    assert found.tied_embeddings is False
    assert found.conditions == ("LICENSE.txt", "USE_POLICY.md")


def test_a_gguf_is_the_one_that_was_named(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/name", ggufs(), licence="apache-2.0", languages=("en",))
    before = card("org/name:Q8_0")
    assert before.weight_types == {"Q8_0": 5, "F32": 1} | before.weight_types
    assert before.path.endswith("llama-Q8_0.gguf")
    assert before == pulled("org/name:Q8_0")
    assert "several GGUF" in refusal("org/name").what


@pytest.mark.parametrize("shards", [1, 3])
def test_a_verdict_costs_three_requests_and_less_than_a_megabyte(hub: Hub, tmp_path: Path, shards: int) -> None:
    hub.add("org/name", llama(tmp_path / "m", 40 << 20, shards=shards))
    card("org/name")
    assert len(asked(hub)) == 3
    assert hub.sent_bytes() < 1_000_000


def test_a_verdict_on_a_gguf_stops_at_its_vocabulary(hub: Hub) -> None:
    files = {"big-Q4_0.gguf": big_gguf(200_000)}
    hub.add("org/name", files, gguf={"total": 5760, "architecture": "llama"})
    found = card("org/name")
    assert len(asked(hub)) == 2
    assert hub.sent_bytes() < 1_000_000
    assert (found.vocabulary, found.layers, found.parameters, found.estimated) == (200_000, 1, 5760, True)
    assert found.size_bytes == len(files["big-Q4_0.gguf"])
    assert found.quantized
    assert read_pulled("org/name").estimated is False


def big_gguf(tokens: int, **more: Any) -> bytes:
    return gguf(more | TINY_METADATA | {"tokenizer.ggml.tokens": [f"token {n}" for n in range(tokens)]}, TINY_TENSORS)


def read_pulled(name: str) -> ModelCard:
    pulled(name)
    return hub_card(parse_reference(name))


def test_shapes_are_worked_out_where_a_gguf_is_of_the_usual_kind(hub: Hub) -> None:
    more = {"llama.feed_forward_length": 64}
    vocabulary, layer = 100_000 * 32, 2 * (32 * 32 + 16 * 32) + 3 * 32 * 64 + 2 * 32
    hub.add("org/name", {"big-Q4_0.gguf": big_gguf(100_000, **more)}, gguf={"total": vocabulary + layer + 32})
    found = card("org/name")
    assert {group.role: group.parameters for group in found.weights}["embedding"] == vocabulary
    assert found.tied_embeddings is True
    assert set(found.weight_types) == {"Q4_0", "F32"}


def test_another_revision_is_worked_out_from_its_index(hub: Hub, tmp_path: Path) -> None:
    first = hub.add("org/name", llama(tmp_path / "a", 4 << 20, shards=3))
    hub.add("org/name", llama(tmp_path / "b", 2 << 20))
    found, whole = card(f"org/name@{first.sha}"), pulled(f"org/name@{first.sha}")
    assert found.estimated
    assert [request for request in asked(hub) if "safetensors-metadata" in request] == []
    assert found.weights == whole.weights
    assert found.revision == first.sha
    assert card("org/name").parameters < found.parameters


def test_weights_that_do_not_add_up_are_taken_together(hub: Hub, tmp_path: Path) -> None:
    files = llama(tmp_path / "a", 4 << 20, shards=3)
    told = {"parameters": {"BF16": 1_000_000, "F32": 10}, "total": 1_000_010}
    first = hub.add("org/name", files, safetensors=told)
    found = card(f"org/name@{first.sha}")
    assert found.parameters == 1_000_010
    assert {group.role for group in found.weights} == {"other"}
    assert found.tied_embeddings is None


def refusal(name: str) -> InputError:
    with pytest.raises(InputError) as caught:
        card(name)
    assert caught.value.why
    assert caught.value.remedy
    return caught.value


def test_pickles_are_refused_before_anything_is_fetched(hub: Hub) -> None:
    hub.add("org/name", pickles())
    assert "pickle" in refusal("org/name").what
    assert len(hub.requests) == 1


def test_a_configuration_of_a_gigabyte_is_refused_unread(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/name", llama(tmp_path / "m") | {"config.json": Generated(1 << 30)})
    assert "too large" in refusal("org/name").what
    assert hub.sent_bytes() < 10_000


def test_headers_that_lie_are_refused(hub: Hub, tmp_path: Path) -> None:
    whole = llama(tmp_path / "m")
    for name, data, why in (
        ("claims", (10**12).to_bytes(8, "little") + b"{}", "claims"),
        ("short", safetensors({"a": ("F32", (2,), 8)})[:-1], "should take"),
        ("empty", b"", "empty"),
    ):
        hub.add(f"org/{name}", whole | {"model.safetensors": data})
        assert why in refusal(f"org/{name}").why
    hub.add("org/gguf", {"x.gguf": gguf(count=10**9)})
    assert "more than the file can hold" in refusal("org/gguf").why
    hub.add("org/cut", {"x.gguf": gguf()[:200]})
    assert "claims" in refusal("org/cut").why


def index(**weight_map: str) -> bytes:
    return json.dumps({"weight_map": weight_map}).encode()


def test_an_index_with_missing_or_overlapping_files_is_refused(hub: Hub, tmp_path: Path) -> None:
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    one = safetensors({"a": ("F32", (2,), 8)})
    files = {"config.json": llama(tmp_path / "m")["config.json"], names[0]: one, names[1]: one}
    hub.add("org/both", files | {"model.safetensors.index.json": index(a=names[0], b=names[1])})
    assert "another file" in refusal("org/both").why
    gone = index(a=names[0], b="gone.safetensors")
    commit = hub.add("org/gone", files | {"model.safetensors.index.json": gone})
    assert "gone.safetensors" in refusal(f"org/gone@{commit.sha}").why
    outside = hub.add("org/outside", files | {"model.safetensors.index.json": index(a="../x.safetensors")})
    assert "outside" in refusal(f"org/outside@{outside.sha}").what


def test_a_repository_is_described_by_its_files(hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("org/name", llama(tmp_path / "m"), licence="mit", languages=("en",), base_model="org/base")
    found = look_up(parse_reference("org/name"))
    assert (found.commit, found.licence, found.languages, found.base_models) == (
        commit.sha, "mit", ("en",), ("org/base",)
    )  # fmt: skip
    files = {file.name: file for file in found.files}
    content = commit.files["model.safetensors"]
    assert files["model.safetensors"].sha256 == content.sha256
    assert files["model.safetensors"].size_bytes == content.size_bytes
    assert files["config.json"].git_oid == commit.files["config.json"].oid
    assert found.parameters == sum(found.weight_types.values())


def test_a_search_is_one_request(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/small-model", llama(tmp_path / "a"), licence="mit", downloads=5)
    hub.add("org/small-model-GGUF", ggufs(), base_model="org/small-model", downloads=9, gguf=gguf_summary())
    hub.add("org/gated-model", llama(tmp_path / "b"), gated="manual", downloads=7)
    found = search("model")
    assert [one.id for one in found] == ["org/small-model-GGUF", "org/gated-model", "org/small-model"]
    assert [one.gated for one in found] == [False, True, False]
    assert found[0].formats == ("gguf",)
    assert found[0].base_models == ("org/small-model",)
    assert found[2].licence == "mit"
    assert all(one.parameters for one in found)
    assert len(hub.requests) == 1
    assert [one.id for one in search("", base_model="org/small-model")] == ["org/small-model-GGUF"]
    assert [one.id for one in search("small", format="safetensors")] == ["org/small-model"]
    assert len(search("model", limit=1)) == 1
    with pytest.raises(InputError):
        search(" ")
