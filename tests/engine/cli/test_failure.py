import json
from pathlib import Path

import pytest

from engine import cli
from engine.errors import Cancelled, UsageError


@pytest.fixture
def failing(monkeypatch, data):
    """Make `edgewise hardware` raise."""

    def fail_with(error: BaseException) -> None:
        def run(options: object) -> int:
            raise error

        monkeypatch.setattr("engine.cli.hardware.run", run)

    return fail_with


def test_an_unforeseen_error_is_called_a_bug_and_logged(failing, capsys) -> None:
    failing(ZeroDivisionError("by\x1b[2J zero"))
    assert cli.main(["hardware"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("This is a bug in Edgewise: ZeroDivisionError: by�[2J zero")
    assert "Traceback" not in told
    log = Path(told.partition("Log: ")[2].strip())
    assert "ZeroDivisionError" in log.read_text()


def test_a_bug_is_reported_where_no_log_can_be_written(failing, capsys, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path / "file"))
    failing(RuntimeError("odd"))
    assert cli.main(["hardware"]) == 1
    assert "Log:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (Cancelled("Stopped."), 130), (UsageError("No."), 2)]
)
def test_each_error_has_its_status(failing, error: BaseException, status: int) -> None:
    failing(error)
    assert cli.main(["hardware"]) == status


def test_json_has_the_error_as_its_document(failing, capsys) -> None:
    failing(UsageError("No.", "Because.", "Do that."))
    cli.main(["hardware", "--json"])
    assert json.loads(capsys.readouterr().out)["error"] == {
        "kind": "UsageError",
        "what": "No.",
        "why": "Because.",
        "remedy": "Do that.",
        "log": "",
    }
