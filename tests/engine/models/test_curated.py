from pathlib import Path

import pytest

from engine.models import curated, find_model
from engine.models.curation import curated_list

from .test_stores import COMMIT, hf_files, home, snapshot

__all__ = ["home"]

ENTRIES = curated_list().models


@pytest.mark.parametrize("card", curated(), ids=lambda card: card.repository)
def test_the_shapes_give_the_parameters_that_are_stated(card) -> None:
    assert card.parameters == pytest.approx(ENTRIES[card.repository].parameters, rel=0.01)
    assert card.parameters == sum(group.parameters for group in card.weights)
    assert card.size_bytes == 2 * card.parameters
    assert card.tied_embeddings != any(group.role == "output" for group in card.weights)
    assert card.estimated


def test_the_families_and_sizes_that_people_ask_for() -> None:
    names = " ".join(card.repository for card in curated()).lower()
    assert all(family in names for family in ("llama", "phi", "qwen", "gemma", "mistral", "smollm"))
    assert 12 <= len(curated()) <= 16
    assert all(0.1e9 < card.parameters < 9e9 for card in curated())
    assert [card.parameters for card in curated()] == sorted(card.parameters for card in curated())


def test_gated_models_say_where_their_conditions_are() -> None:
    gated = {card.repository: card.conditions for card in curated() if ENTRIES[card.repository].gated}
    assert gated["meta-llama/Llama-3.2-1B-Instruct"] == ("https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct",)
    assert all(gated.values())


@pytest.mark.parametrize("name", ["Qwen/Qwen3-4B", "qwen3-4b"])
def test_a_curated_model_is_found_by_name_without_a_network(name: str) -> None:
    card = find_model(name)
    assert (card.origin, card.repository, card.path) == ("curated", "Qwen/Qwen3-4B", "")


def test_one_in_the_cache_is_the_one_that_lies_there(home: Path) -> None:
    folder = snapshot(home / ".cache" / "huggingface" / "hub", "Qwen/Qwen3-4B", hf_files())
    by_repository = {card.repository: card.path for card in curated()}
    assert by_repository["Qwen/Qwen3-4B"] == str(folder)
    card = find_model("qwen/qwen3-4b")
    assert (card.origin, card.revision) == ("hub cache", COMMIT)
