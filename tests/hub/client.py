"""The real client, turned towards the stand-in: by environment for other processes, in place for this one."""

import os
from pathlib import Path

import pytest

from tests.hub.server import Hub

TURNED_OFF = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
"""Xet, which the stand-in does not speak, and requests that nobody asked for."""


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """This process's environment with the hub, its home and nobody's token, for a process of its own."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGING")) and not name.lower().endswith("_proxy")
    }
    return {**mine, **TURNED_OFF, "HF_ENDPOINT": hub.url, "HF_HOME": str(home)}


def turn_client(monkeypatch: pytest.MonkeyPatch, hub: Hub, home: Path) -> None:
    """Turn this process's client to the hub. It read its environment when it was imported: hence its constants too."""
    import huggingface_hub.constants as constants
    from huggingface_hub.utils import close_session

    told = environment(hub, home)
    for name in set(os.environ) - set(told):
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_XET_CACHE": str(home / "xet"),
        "AGENT_HARNESSES_PATH": str(home / ".agent_harnesses.json"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)
    close_session()
