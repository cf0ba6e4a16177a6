import errno
import os
import shutil
import time
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.advice.records import Plan, Step
from engine.errors import ResourceError
from engine.work import jobs
from engine.work.journal import LOG_LINES, JobView, Journal, JournalReader, StepView, fold
from engine.work.protocol import (
    JobEnded,
    JobEvent,
    JobStarted,
    Log,
    Memory,
    Note,
    Progress,
    StageStarted,
    Stamped,
    StepDone,
    StepStarted,
    decode,
    encode,
)

STEPS = ("fetch", "convert", "publish")
PLAN = Plan("A plan", "fake", "model", "q4", tuple(Step(name, "count", name.title()) for name in STEPS))


def empty() -> JobView:
    return JobView("id", "A plan", PLAN, 1000.0, steps=tuple(StepView(name, name.title()) for name in STEPS))


def folded(*events: JobEvent, times: "list[float] | None" = None) -> JobView:
    view = empty()
    for number, event in enumerate(events):
        view = fold(view, Stamped(number, times[number] if times else 1001.0 + number, event))
    return view


texts = st.text(max_size=20)
amounts = st.floats(0, 1e15)
step_names = st.sampled_from(STEPS) | texts
errors = st.none() | st.fixed_dictionaries({"kind": texts, "what": texts})
results = st.dictionaries(texts, st.integers(-(2**60), 2**60) | texts | st.none(), max_size=3)
job_events = st.one_of(
    st.builds(StepStarted, step_names, texts, st.integers(0, 9), st.integers(0, 9), st.booleans()),
    st.builds(StageStarted, step_names, texts, st.none() | amounts, texts, st.none() | amounts),
    st.builds(Progress, step_names, texts, amounts, st.none() | amounts, texts, st.none() | st.integers(0, 2**60)),
    st.builds(Memory, step_names, st.integers(0, 2**60), st.integers(0, 2**60)),
    st.builds(Log, step_names, texts),
    st.builds(Note, step_names, texts, st.sampled_from(["info", "warning"])),
    st.builds(StepDone, step_names, amounts, results),
    st.builds(JobStarted, st.integers(1, 99), st.integers(1, 2**22)),
    st.builds(JobEnded, st.sampled_from(["done", "failed", "cancelled"]), results, errors),
)


class TestFold:
    def test_a_whole_job(self):
        result = {"artifact": "model-q4"}
        view = folded(
            JobStarted(1, 77),
            StepStarted("fetch", "Fetch", 0, 3),
            StageStarted("fetch", "Downloading", 4.0, "files", 8.0),
            Progress("fetch", "Downloading", 1.0, 4.0, "files", 256, 1024, "a.bin"),
            Memory("fetch", 500, 900),
            Memory("fetch", 400, 600),
            Log("fetch", "one"),
            Note("fetch", "It is slow.", "warning"),
            Note("fetch", "It is slow.", "warning"),
            StepDone("fetch", 8.0, {"path": "/x"}),
            StepStarted("convert", "Convert", 1, 3),
            StepDone("convert", 1.0, {}),
            StepStarted("publish", "Publish", 2, 3),
            StepDone("publish", 1.0, result),
            JobEnded("done", result),
        )
        assert (view.status, view.attempt, view.pid, view.error, view.result) == ("done", 1, 77, None, result)
        assert (view.started_at, view.ended_at, view.updated_at) == (1001.0, 1015.0, 1015.0)
        assert [step.status for step in view.steps] == ["done"] * 3
        assert view.steps[0].result == {"path": "/x"}
        assert view.steps[0].elapsed_s == 8.0
        # Each step has a worker of its own, and nobody has looked at the last one's memory.
        assert (view.rss_bytes, view.peak_bytes) == (None, 900)
        assert view.log == ("one",)
        assert len(view.notes) == 1

    def test_rate_and_time_left(self):
        events = (
            JobStarted(1, 1),
            StepStarted("fetch", "Fetch", 0, 3),
            StageStarted("fetch", "Counting", 10.0, "tensors"),
            Progress("fetch", "Counting", 4.0, 10.0, "tensors"),
        )
        view = folded(*events, times=[0.0, 0.0, 10.0, 12.0])
        assert view.stage_elapsed_s == 2.0
        assert view.rate == 2.0
        assert view.eta_s == 3.0
        assert view.bytes_per_s is None
        in_bytes = Progress("fetch", "Counting", 9.0, 10.0, "tensors", 100, 1000)
        view = folded(*events, in_bytes, times=[0.0, 0.0, 10.0, 12.0, 15.0])
        assert view.bytes_per_s == 20.0
        assert view.eta_s == 45.0, "bytes tell more than tensors, which differ in size"

    def test_what_is_not_counted_has_no_rate(self):
        view = folded(StageStarted("fetch", "Waiting"), Progress("fetch", "Waiting", 3.0))
        assert view.eta_s is None
        assert folded(StageStarted("fetch", "Waiting", 9.0)).rate is None

    def test_a_new_stage_begins_at_nothing(self):
        view = folded(
            StepStarted("fetch", "Fetch", 0, 3),
            StageStarted("fetch", "First", 4.0, "files"),
            Progress("fetch", "First", 4.0, 4.0, "files", 10, 10, "x"),
            StageStarted("fetch", "Second"),
        )
        assert (view.stage, view.stage_done, view.stage_total, view.stage_unit) == ("Second", 0.0, None, "")
        assert (view.bytes_done, view.bytes_total, view.detail, view.stage_elapsed_s) == (None, None, "", 0.0)

    @pytest.mark.parametrize(("outcome", "status"), [("failed", "failed"), ("cancelled", "waiting")])
    def test_the_step_under_way_when_it_ends_badly(self, outcome, status):
        view = folded(
            JobStarted(1, 1), StepStarted("fetch", "Fetch", 0, 3), JobEnded(outcome, {}, {"what": "It broke."})
        )
        assert view.status == outcome
        assert view.steps[0].status == status
        assert view.running_step is None

    def test_the_next_attempt_keeps_what_is_done_and_forgets_the_failure(self):
        view = folded(
            JobStarted(1, 1),
            StepStarted("fetch", "Fetch", 0, 3),
            StepDone("fetch", 2.0, {"path": "/x"}),
            StepStarted("convert", "Convert", 1, 3),
            JobEnded("failed", {}, {"what": "It broke."}),
            JobStarted(2, 2),
        )
        assert (view.status, view.attempt, view.error, view.ended_at) == ("running", 2, None, None)
        assert [step.status for step in view.steps] == ["done", "waiting", "waiting"]
        view = fold(view, Stamped(9, 2000.0, StepStarted("fetch", "Fetch", 0, 3, skipped=True)))
        assert view.steps[0].status == "skipped"
        assert view.steps[0].result == {"path": "/x"}

    @given(st.lists(job_events, max_size=30))
    def test_any_history_folds_to_a_view_that_holds_together(self, events):
        view = empty()
        for number, event in enumerate(events):
            view = fold(view, Stamped(number, 1000.0 + number, event))
            assert view.status in ("queued", "running", "done", "failed", "cancelled")
            assert [step.id for step in view.steps] == list(STEPS)
            assert {step.status for step in view.steps} <= {"waiting", "running", "done", "skipped", "failed"}
            assert len(view.log) <= LOG_LINES
            assert view.updated_at == 1000.0 + number
            assert view.rate is None or view.rate > 0
            assert view.eta_s is None or view.eta_s >= 0
            if view.status == "running":
                assert view.error is None
        assert msgspec.json.decode(msgspec.json.encode(view), type=JobView) == view

    @given(st.lists(job_events, max_size=20), st.integers(0, 20))
    def test_following_gives_what_reading_again_gives(self, events, cut):
        assert folded(*events) == folded(*events)
        view = folded(*events[:cut])
        for number, event in enumerate(events[cut:], start=len(events[:cut])):
            view = fold(view, Stamped(number, 1001.0 + number, event))
        assert view == folded(*events)

    def test_the_log_keeps_its_last_lines(self):
        view = folded(*(Log("fetch", str(number)) for number in range(LOG_LINES + 50)))
        assert view.log == tuple(str(number) for number in range(50, LOG_LINES + 50))


class TestFile:
    def test_what_is_written_is_read_once(self, tmp_path):
        journal, reader = Journal(tmp_path / "j"), JournalReader(tmp_path / "j")
        assert reader.read_new() == []
        journal.append(Log("fetch", "one"))
        journal.append(Log("fetch", "two"))
        assert [(stamped.n, stamped.params.line) for stamped in reader.read_new()] == [(0, "one"), (1, "two")]
        assert reader.read_new() == []
        journal.append(JobEnded("done", {}))
        assert [stamped.n for stamped in reader.read_new()] == [2]
        journal.close()

    def test_a_line_is_valid_json_rpc(self, tmp_path):
        journal = Journal(tmp_path / "j")
        before = time.time()
        journal.append(StepDone("fetch", 1.5, {"path": "/x"}))
        journal.close()
        line = decode((tmp_path / "j").read_bytes())
        assert line["jsonrpc"] == "2.0"
        assert line["method"] == "event"
        assert before <= line["t"] <= time.time()
        assert line["params"] == {"event": "step_done", "step": "fetch", "elapsed_s": 1.5, "result": {"path": "/x"}}

    def test_there_may_be_no_file(self, tmp_path):
        assert JournalReader(tmp_path / "none").read_new() == []
        assert JournalReader(tmp_path).read_new() == []

    @settings(max_examples=50)
    @given(st.lists(job_events, max_size=8), st.data())
    def test_a_file_cut_anywhere_gives_its_whole_lines_and_can_be_written_on(self, tmp_path_factory, events, data):
        path = tmp_path_factory.mktemp("journal") / "j"
        lines = [encode(Stamped(number, 5.0, event)) for number, event in enumerate(events)]
        cut = data.draw(st.integers(0, sum(map(len, lines))))
        path.write_bytes(b"".join(lines)[:cut])
        whole = b"".join(lines)[:cut].count(b"\n")
        reader = JournalReader(path)
        assert [stamped.params for stamped in reader.read_new()] == events[:whole]
        journal = Journal(path)
        journal.append(JobStarted(2, 1))
        journal.close()
        for seen in (JournalReader(path).read_new(), [*range(whole), *reader.read_new()]):
            assert seen[-1].params == JobStarted(2, 1)
            # A line that lacked only its newline is complete after all.
            assert whole + 1 <= len(seen) <= whole + 2
        numbers = [stamped.n for stamped in JournalReader(path).read_new()]
        assert numbers == sorted(set(numbers))

    @settings(max_examples=50)
    @given(st.lists(job_events, max_size=8), st.integers(1, 40))
    def test_a_reader_may_come_in_the_middle_of_a_line(self, tmp_path_factory, events, size):
        path = tmp_path_factory.mktemp("journal") / "j"
        content = b"".join(encode(Stamped(number, 5.0, event)) for number, event in enumerate(events))
        reader, seen = JournalReader(path), []
        for start in range(0, len(content), size):
            with path.open("ab") as file:
                file.write(content[start : start + size])
            seen += reader.read_new()
        assert [stamped.params for stamped in seen] == events

    @pytest.mark.parametrize(
        "rubbish",
        [
            b"\n",
            b"\0" * 5000 + b"\n",
            b"\xff\xfe\n",
            b"[" * 100_000 + b"\n",
            b'{"n":1,"t":2,"params":{"event":"unknown"}}\n',
            b'{"n":"x"}\n',
            b'"text"\n',
        ],
    )
    def test_foreign_lines_are_passed_over(self, tmp_path, rubbish):
        path = tmp_path / "j"
        line = encode(Stamped(0, 1.0, Log("fetch", "x")))
        path.write_bytes(line + rubbish + line)
        assert len(JournalReader(path).read_new()) == 2

    @given(st.binary(max_size=200))
    def test_no_bytes_upset_the_reader(self, tmp_path_factory, content):
        path = tmp_path_factory.mktemp("journal") / "j"
        path.write_bytes(content)
        assert isinstance(JournalReader(path).read_new(), list)
        Journal(path).close()


class TestLines:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        )
    )
    def test_any_text_can_be_sent(self, value):
        line = encode({"value": value})
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert decode(line)["value"] is not None or value is None

    def test_a_lone_surrogate_becomes_a_question_mark(self):
        line = encode({os.fsdecode(b"\xff"): [os.fsdecode(b"a\xffb"), 1, None]})
        assert decode(line) == {"?": ["a?b", 1, None]}

    @given(st.text(st.characters(exclude_categories=())))
    def test_text_without_surrogates_arrives_unchanged(self, text):
        expected = text.encode(errors="replace").decode()
        assert decode(encode({"text": text})) == {"text": expected}

    @pytest.mark.parametrize("line", [b"", b"\xff", b"[]", b"1", b'"x"', b"{", b"[" * 100_000, b"\0"])
    def test_what_is_no_message_is_a_value_error(self, line):
        with pytest.raises(ValueError, match="not a JSON"):
            decode(line)


class TestFullDisk:
    @pytest.fixture
    def write(self, tmp_path, monkeypatch):
        """os.write as on a disk that takes half a line and then nothing, until the room that is kept is free."""
        write, taken = os.write, []

        def full(descriptor: int, data: bytes) -> int:
            if not (tmp_path / "reserve").exists():
                return write(descriptor, data)
            if taken:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken.append(data)
            return write(descriptor, data[: len(data) // 2])

        return lambda: monkeypatch.setattr(os, "write", full)

    def test_the_last_word_has_room(self, tmp_path, write):
        journal = Journal(tmp_path / "events.jsonl")
        journal.append(JobStarted(1, 1))
        write()
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                journal.append(Memory("convert", 1, 1))
        journal.append(JobEnded("failed", {}, {"what": "The disk is full."}))
        events = [stamped.params for stamped in JournalReader(tmp_path / "events.jsonl").read_new()]
        assert events == [JobStarted(1, 1), JobEnded("failed", {}, {"what": "The disk is full."})]

    def test_no_job_is_begun_on_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        with pytest.raises(ResourceError, match="not enough disk space"):
            jobs.submit(PLAN)
        assert not list((tmp_path / "jobs").iterdir())
