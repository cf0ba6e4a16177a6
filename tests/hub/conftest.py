"""A stand-in hub for each test that asks for one, with the real client turned towards it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.client import turn_client
from tests.hub.server import Hub, serve


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub; the client's home is `tmp_path / "hf"`."""
    with serve() as served:
        turn_client(monkeypatch, served, tmp_path / "hf")
        yield served
    from huggingface_hub.utils import close_session

    close_session()
