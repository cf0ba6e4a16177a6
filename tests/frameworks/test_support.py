"""The table of architectures against the environments, as Edgewise sets them up."""

import pytest

from engine import frameworks
from engine.frameworks.support import ask_installed, read_table
from engine.models.forms import SOURCES
from tests.frameworks.conftest import require_environments

pytestmark = pytest.mark.framework
DECIDES = {"llamacpp": ("convert",), "openvino": ("run", "export"), "olive": ("convert",), "mlx": ("run",)}


@pytest.mark.parametrize("form", SOURCES)
@pytest.mark.parametrize("framework", frameworks.NAMES)
def test_the_table_says_what_the_installed_frameworks_say(framework: str, form: str) -> None:
    require_environments(framework, *DECIDES[framework])
    again = "write the table anew: python -m engine.frameworks.support"
    assert ask_installed(frameworks.get(framework), form) == read_table().frameworks[framework][form], again
