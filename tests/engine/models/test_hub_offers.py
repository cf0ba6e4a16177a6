"""What others have made of a model already."""

from pathlib import Path

import pytest

from engine.models.hub.offers import find_offers
from tests.hub.makers import gguf_summary, ggufs, llama
from tests.hub.server import Hub

BASE = "acme/llama"


@pytest.fixture
def family(hub: Hub, tmp_path: Path) -> Hub:
    hub.add(BASE, llama(tmp_path / "base"), downloads=1000)
    hub.add("bert/llama-GGUF", ggufs(), base_model=BASE, gguf=gguf_summary(), downloads=500)
    hub.add("mlx-community/llama-4bit", llama(tmp_path / "mlx"), base_model=BASE, tags=("mlx",), downloads=50)
    hub.add("mlx-community/llama-8bit", llama(tmp_path / "mlx8"), base_model=BASE, tags=("mlx",), downloads=60)
    hub.add("secret/llama-GGUF", ggufs(), base_model=BASE, gated="manual", downloads=900)
    return hub


def test_a_gguf_at_the_precision_is_offered_with_its_size(family: Hub) -> None:
    [offer] = find_offers(BASE, "gguf", "Q4_K_M")
    assert (offer.reference, offer.made_by, offer.downloads) == ("bert/llama-GGUF:Q4_K_M", "bert", 500)
    files = family.repositories["bert/llama-GGUF"].main.files
    assert offer.size_bytes == sum(files[name].size_bytes for name in ("llama-Q4_K_M.gguf", "README.md"))
    assert len(family.requests) <= 3


def test_nothing_is_offered_at_a_precision_that_nobody_made(family: Hub) -> None:
    assert find_offers(BASE, "gguf", "Q2_K") == ()
    assert find_offers("acme/other", "gguf", "Q4_K_M") == ()


def test_other_forms_go_by_the_name_of_the_repository(family: Hub) -> None:
    assert [offer.reference for offer in find_offers(BASE, "mlx", "mlx-4bit")] == ["mlx-community/llama-4bit"]
