"""The command as a shell meets it: statuses, streams, pipes and signals, each in a process of its own."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.work import jobs
from tests.engine.cli.steps import plan

EDGEWISE = [sys.executable, "-c", "import sys; from engine.cli import main; sys.exit(main())"]
pytestmark = pytest.mark.usefixtures("data")


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([*EDGEWISE, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        *((name, "--help") for name in ("quickstart", "hardware", "advise", "setup", "convert", "chat")),
        *(("jobs", name, "--help") for name in ("list", "attach", "pause", "cancel", "resume", "remove")),
        *(("library", name, "--help") for name in ("list", "show", "verify", "remove")),
        *(("models", name, "--help") for name in ("list", "show")),
    ],
)
def test_help_is_on_stdout(arguments: Sequence[str]) -> None:
    completed = run(*arguments)
    assert completed.returncode == 0
    assert completed.stdout
    assert not completed.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("dance",),
        ("convert",),
        ("jobs",),
        ("jobs", "attach", "--what"),
        ("chat", "x", "--context", "-1"),
        ("chat", "x", "--prompt", "  "),
        ("advise", "--answer", "priority"),
        ("hardware", "--measure", "--sysroot", "/"),
        ("library", "remove"),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: Sequence[str], tmp_path: Path) -> None:
    completed = run(*arguments)
    assert completed.returncode == 2
    assert not completed.stdout
    assert completed.stderr
    assert "Traceback" not in completed.stderr


def test_without_a_terminal_the_screens_say_what_to_do_instead() -> None:
    completed = run()
    assert completed.returncode == 2
    assert "terminal" in completed.stderr
    assert "edgewise --help" in completed.stderr


def test_a_stated_error_has_lines_and_status_1() -> None:
    completed = run("models", "show", "/nowhere/at\x1b[31mall.gguf")
    assert completed.returncode == 1
    assert not completed.stdout
    assert "What to do:" in completed.stderr
    assert "\x1b" not in completed.stderr
    assert "Traceback" not in completed.stderr


def test_debug_shows_the_traceback_wherever_the_flag_stands() -> None:
    for arguments in (("--debug", "jobs", "cancel", "no"), ("jobs", "cancel", "no", "--debug")):
        assert "Traceback" in run(*arguments).stderr


def test_a_failure_under_json_is_still_one_document() -> None:
    completed = run("models", "show", "/nowhere", "--json")
    assert completed.returncode == 1
    assert json.loads(completed.stdout)["error"]["what"]


@pytest.mark.parametrize("arguments", [("jobs", "list"), ("library", "list"), ("models", "list"), ("hardware",)])
def test_json_is_exactly_one_document(arguments: Sequence[str]) -> None:
    completed = run(*arguments, "--json")
    assert completed.returncode == 0, completed.stderr
    json.loads(completed.stdout)
    assert completed.stdout.isascii()


def test_a_reader_that_has_gone_is_no_error() -> None:
    completed = subprocess.run(
        f"{subprocess.list2cmdline(EDGEWISE[:1])} -c '{EDGEWISE[2]}' hardware --json | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.stdout.strip() in ("141", "0")
    assert not completed.stderr


def test_a_full_disk_behind_stdout_is_said() -> None:
    with open("/dev/full", "w") as full:
        completed = subprocess.run(
            [*EDGEWISE, "hardware"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert completed.returncode == 1
    assert "could not be written" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_closed_streams_do_no_harm() -> None:
    completed = subprocess.run(
        f"{EDGEWISE[0]} -c '{EDGEWISE[2]}' hardware <&- >&- 2>&-", shell=True, timeout=60, check=False
    )
    assert completed.returncode == 0


def test_an_ascii_terminal_gets_ascii() -> None:
    completed = run("hardware", env={**os.environ, "PYTHONIOENCODING": "ascii:strict"})
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.isascii()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_data_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    completed = run("jobs", "list", env={**os.environ, "EDGEWISE_DATA": str(folder)})
    assert completed.returncode == 1
    assert "EDGEWISE_DATA" in completed.stderr


def test_a_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    completed = run("jobs", "list", env={**os.environ, "EDGEWISE_DATA": str(tmp_path / "file" / "data")})
    assert completed.returncode == 1
    assert "cannot write to its data folder" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_attach_prints_the_journal_as_json_lines() -> None:
    job_id = jobs.submit(plan("count"))
    completed = run("jobs", "attach", job_id[-4:], "--json")
    events = [json.loads(line) for line in completed.stdout.splitlines()]
    assert completed.returncode == 0, completed.stderr
    assert [events[0]["params"]["event"], events[-1]["params"]["event"]] == ["job_started", "job_ended"]
    assert [event["n"] for event in events] == list(range(len(events)))


def test_attach_to_a_job_that_fails_says_why() -> None:
    completed = run("jobs", "attach", jobs.submit(plan("fail")))
    assert completed.returncode == 1
    assert "There is no compiler." in completed.stderr
    assert "compiler�[31m said no" in completed.stderr
    assert not completed.stdout


def test_the_interrupt_key_detaches_and_leaves_the_job_running() -> None:
    job_id = jobs.submit(plan("count", seconds=60))
    process = subprocess.Popen(
        [*EDGEWISE, "jobs", "attach"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "goes on" in told
    assert jobs.read_job(job_id).status == "running"
    cancelled = run("jobs", "cancel", job_id)
    assert cancelled.returncode == 0
    assert "cancelled" in cancelled.stdout


def test_a_closed_terminal_leaves_the_job_running() -> None:
    watching = (
        "from engine.cli.progress import watch; from engine.work import jobs;"
        "from tests.engine.cli.steps import plan; watch(jobs.submit(plan('count', seconds=60)), 'cancel')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", watching], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 10
    while not (views := jobs.list_jobs()) or views[0].status != "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=10) == -signal.SIGHUP
    time.sleep(0.5)
    assert jobs.read_job(views[0].id).status == "running"
    jobs.cancel(views[0].id)


def test_a_terminal_of_twenty_columns_gets_one_redrawn_line() -> None:
    job_id = jobs.submit(plan("count", seconds=2))
    shown = in_terminal(["jobs", "attach", job_id], columns=20)
    assert "\r" in shown
    for row in shown.replace("\x1b[K", "").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        assert len(row.replace("\x1b[32m", "").replace("\x1b[33m", "").replace("\x1b[0m", "")) <= 20


def test_no_color_and_dumb_terminals_are_honoured() -> None:
    job_id = jobs.submit(plan("count"))
    assert "\x1b[3" not in in_terminal(["jobs", "attach", job_id], NO_COLOR="1")
    assert "\x1b" not in in_terminal(["jobs", "attach", job_id], TERM="dumb")


def in_terminal(arguments: Sequence[str], columns: int = 80, **variables: str) -> str:
    """What the command writes to a terminal of this width."""
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1", **variables}
    environment.pop("SSH_CONNECTION", None)
    process = subprocess.Popen(
        [*EDGEWISE, *arguments], stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    assert process.wait(timeout=20) == 0
    return b"".join(parts).decode()
