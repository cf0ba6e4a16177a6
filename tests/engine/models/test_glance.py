"""Cards of GGUF files from their first bytes, and listings that have no time to read more."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine.errors import InputError
from engine.models import find, find_model, list_models
from engine.models.card import ModelCard
from engine.models.estimating import estimate_gguf
from engine.models.gguf import ArrayLength, GgufHeader
from engine.models.local import glance_card, read_card

from .writers import TINY_METADATA, TINY_TENSORS, gguf, model_folder

WORDS = [f"token {number}" for number in range(20_000)]
LARGE = {"llama.feed_forward_length": 64} | TINY_METADATA | {"tokenizer.ggml.tokens": WORDS}


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_stands_before_a_large_vocabulary_is_read_and_the_weights_are_estimated(tmp_path: Path) -> None:
    path = write(tmp_path / "Big-Q4_0.gguf", gguf(LARGE))
    glance, whole = glance_card(path), read_card(path)
    assert glance.estimated
    assert not whole.estimated
    facts = ("name", "path", "architecture", "size_bytes", "layers", "width", "heads", "kv_heads", "context_length",
             "vocabulary", "licence", "quantized", "origin")  # fmt: skip
    assert {fact: getattr(glance, fact) for fact in facts} == {fact: getattr(whole, fact) for fact in facts}
    assert {group.role: group.parameters for group in glance.weights}["embedding"] == len(WORDS) * 32
    assert set(glance.weight_types) == {"Q4_0", "F32"}
    assert (glance.chat_template, whole.chat_template) == (None, True)


def test_a_card_is_exact_where_the_first_bytes_say_all(tmp_path: Path) -> None:
    path, folder = write(tmp_path / "Tiny.gguf", gguf()), model_folder(tmp_path / "folder")
    assert glance_card(path) == read_card(path)
    assert glance_card(folder) == read_card(folder)


def test_all_parts_of_a_split_gguf_count(tmp_path: Path) -> None:
    split = {"split.count": 2, "split.no": 0}
    first = write(tmp_path / "Big-Q8_0-00001-of-00002.gguf", gguf(LARGE | split, TINY_TENSORS[:3]))
    second = first.with_name("Big-Q8_0-00002-of-00002.gguf")
    with pytest.raises(InputError, match="missing"):
        glance_card(first)
    write(second, gguf(split | {"split.no": 1}, TINY_TENSORS[3:]))
    glance, whole = glance_card(first), read_card(first)
    assert glance.estimated
    assert (glance.name, glance.size_bytes) == (whole.name, whole.size_bytes) == ("Big", glance.size_bytes)
    assert glance.weight_types.keys() >= {"Q8_0"}
    small = write(tmp_path / "Tiny-00001-of-00002.gguf", gguf(TINY_METADATA | split, TINY_TENSORS[:3]))
    write(tmp_path / "Tiny-00002-of-00002.gguf", gguf(split | {"split.no": 1}, TINY_TENSORS[3:]))
    assert glance_card(small) == read_card(small)


def test_a_header_that_says_too_late_what_it_is_is_read_to_its_end(tmp_path: Path) -> None:
    words = {"tokenizer.ggml.tokens": WORDS}
    assert not glance_card(write(tmp_path / "Odd.gguf", gguf(words | TINY_METADATA | words))).estimated


def test_broken_files_are_refused_as_far_as_it_shows(tmp_path: Path) -> None:
    for name, content, why in (
        ("none", b"PK\x03\x04", "begins with"),
        ("short", gguf(LARGE)[:1000], "metadata keys|strings|ends"),
        ("encoder", gguf({"general.type": "mmproj"} | LARGE), "encoder"),
    ):
        with pytest.raises(InputError) as caught:
            glance_card(write(tmp_path / f"{name}.gguf", content))
        assert any(word in caught.value.why for word in why.split("|"))


def header(size_bytes: int, **facts: int) -> GgufHeader:
    metadata: dict[str, Any] = {"general.architecture": "llama", "tokenizer.ggml.tokens": ArrayLength(1000)}
    usual = {"block_count": 2, "embedding_length": 64, "attention.head_count": 4, "feed_forward_length": 128}
    return GgufHeader(3, metadata | {f"llama.{name}": fact for name, fact in (usual | facts).items()}, (), size_bytes)


@pytest.mark.parametrize(
    ("precision", "kind"),
    [("Q4_K_M", "Q4_K"), ("UD-Q2_K_XL", "Q2_K"), ("IQ4_XS", "IQ4_XS"), ("MXFP4_MOE", "MXFP4"), ("BF16", "BF16"),
     ("", "mixed"), ("IQ3_M", "IQ3_M")],
)  # fmt: skip
def test_the_weights_are_of_the_type_that_the_file_is_called_after(precision: str, kind: str) -> None:
    weights = estimate_gguf(header(200_000), precision).weights
    assert {group.type for group in weights if group.role != "vector"} == {kind}
    assert sum(group.size_bytes for group in weights) == pytest.approx(200_000, rel=0.01)


def test_experts_count_without_a_name_for_each() -> None:
    estimated = estimate_gguf(header(10**9, expert_count=128, expert_feed_forward_length=32), "Q4_0")
    assert estimated.expert_parameters == 2 * 128 * 3 * 64 * 32
    assert sum(group.tensors for group in estimated.weights) == 2 * (4 + 1 + 3 * 128 + 2) + 3


def test_dimensions_that_a_file_cannot_hold_are_not_believed() -> None:
    most = (1 << 40) - 1
    weights = estimate_gguf(header(90_000, block_count=most, embedding_length=most, expert_count=most), "Q4_0").weights
    assert [(group.role, group.parameters) for group in weights] == [("other", 160_000)]


class TestListing:
    @pytest.fixture(autouse=True)
    def models(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("a", "b", "c"):
            write(tmp_path / "data" / "models" / f"{name}-Q4_0.gguf", gguf(LARGE))
        write(tmp_path / "data" / "models" / "small.gguf", gguf())

    def listed(self) -> list[ModelCard]:
        return [card for card in list_models() if card.origin == "local"]

    def test_what_there_is_no_time_for_is_estimated_and_made_exact_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(find, "READING_S", 0.0)
        assert [card.estimated for card in self.listed()] == [True, True, True, False]
        assert not find_model("a-q4_0").estimated
        now = 0.0

        def read(path: Path) -> ModelCard:
            nonlocal now
            now += 1.0
            return read_card(path)

        monkeypatch.setattr(find, "read_card", read)
        monkeypatch.setattr(find, "time", SimpleNamespace(monotonic=lambda: now))
        monkeypatch.setattr(find, "READING_S", 1.5)
        for left in (1, 0, 0):
            assert sum(card.estimated for card in self.listed()) == left
        monkeypatch.setattr(find, "READING_S", 0.0)
        assert [card.estimated for card in self.listed()] == [False] * 4

    def test_a_card_that_is_no_model_after_all_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "data" / "models" / "short.gguf", gguf(LARGE)[:-200])
        monkeypatch.setattr(find, "READING_S", 0.0)
        assert len(self.listed()) == 5
        monkeypatch.setattr(find, "READING_S", 60.0)
        assert [card.name for card in self.listed()] == ["a", "b", "c", "small"]


def test_estimated_cards_can_be_kept_whatever_their_headers_claim(tmp_path: Path) -> None:
    most = (1 << 32) - 1
    claims = {"llama.block_count": most, "llama.embedding_length": most, "llama.expert_count": most}
    card = glance_card(write(tmp_path / "x.gguf", gguf(LARGE | claims)))
    assert msgspec.json.decode(msgspec.json.encode(card), type=ModelCard) == card
