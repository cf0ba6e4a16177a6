from pathlib import Path

import pytest


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where steps say that they ran."""
    return tmp_path / "ledger"
