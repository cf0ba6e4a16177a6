"""`edgewise doctor` as it is seen: in a pipe, as JSON, and on a terminal of 80 columns."""

import json
from collections.abc import Callable, Iterator

import pytest

from engine import cli
from engine.cli import doctor
from engine.cli.table import cells
from engine.cli.terminal import Output
from engine.doctor import ABSENT, BROKEN, NOTE, OK, Finding

pytestmark = pytest.mark.usefixtures("data")

GOOD = Finding("environment", "mlx-run", OK, "It works.", "", {"mlx": "0.32.4"}, 316 << 20, 0.0, 2.5)
ABSENT_ONE = Finding("environment", "olive-run", ABSENT, "It is not made yet.", "edgewise setup olive --purpose run")
BAD = Finding(
    "environment", "llamacpp-run", BROKEN, "Its Python is gone. " * 6, "edgewise setup llamacpp --purpose run"
)
CUT_OFF = Finding("job", "20260101-000000-abcd", NOTE, "It was cut off.", "edgewise jobs resume 20260101-000000-abcd")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the doctor finds."""

    def put(*findings: Finding) -> None:
        def examine(quick: bool, begin: Callable[[str], None]) -> Iterator[Finding]:
            begin("Trying …")
            yield from findings

        monkeypatch.setattr(doctor, "examine", examine)

    return put


def test_health_is_status_0(found, capsys) -> None:
    found(GOOD, ABSENT_ONE, CUT_OFF)
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "Trying …\n"
    lines = shown.out.splitlines()
    assert [line for line in lines if line and line[0] != " "] == [
        "Edgewise", "Environments", "Artifacts", "Jobs", "Nothing is broken.",
    ]  # fmt: skip
    assert any("mlx-run: It works. mlx 0.32.4, 316 MiB" in line and line.endswith("tried in 2.5 s") for line in lines)
    assert "      edgewise setup olive --purpose run" in lines
    assert "    None yet: `edgewise quickstart` makes one." in lines


def test_a_broken_thing_is_status_1_with_its_command(found, capsys) -> None:
    found(GOOD, BAD)
    assert cli.main(["doctor", "--quick"]) == 1
    out = capsys.readouterr().out
    assert "      edgewise setup llamacpp --purpose run" in out.splitlines()
    assert "Broken: llamacpp-run." in out


def test_json_is_one_document(found, capsys) -> None:
    found(GOOD, BAD)
    assert cli.main(["doctor", "--json", "--quick"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["healthy"], document["quick"]) == (False, True)
    assert [finding["name"] for finding in document["findings"]] == ["mlx-run", "llamacpp-run"]
    assert document["findings"][1]["remedy"] == "edgewise setup llamacpp --purpose run"


def test_it_fits_80_columns(found, capsys, monkeypatch) -> None:
    monkeypatch.setattr(Output, "columns", property(lambda self: 80))
    found(GOOD, BAD, CUT_OFF)
    cli.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cells, lines)) <= 80
    assert "    Its Python is gone." in "\n".join(lines)


def test_a_real_quick_look_works(capsys) -> None:
    assert cli.main(["doctor", "--quick", "--json"]) == 0, "something of this very installation is broken"
    document = json.loads(capsys.readouterr().out)
    assert {finding["topic"] for finding in document["findings"]} == {"edgewise", "environment"}
