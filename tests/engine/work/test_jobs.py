import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import msgspec
import psutil
import pytest

from engine.errors import EdgewiseError, InputError, ResourceError, UsageError
from engine.work import jobs
from engine.work.journal import JobView
from engine.work.protocol import Progress
from tests.engine.work.watching import (
    entered,
    events,
    job_process,
    running,
    step,
    submit,
    wait_for_end,
    wait_for_step,
    wait_until,
    wait_until_done,
)

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="process groups and signals"),
    pytest.mark.usefixtures("fake_environment"),
]


class TestDone:
    def test_steps_run_in_order_and_know_the_results_before_them(self, ledger, data_folder):
        job_id = submit(
            step("first", "count", count=40, delay_s=0.01, ledger=str(ledger)),
            step("second", "make", output="out.bin", blocks=3, ledger=str(ledger)),
            step("third", "count", count=2, ledger=str(ledger)),
        )
        assert jobs.read_job(job_id).status == "queued"
        view = wait_for_end(job_id)
        assert (view.status, view.attempt, view.error) == ("done", 1, None)
        assert [one.status for one in view.steps] == ["done"] * 3
        assert all(one.elapsed_s is not None and one.elapsed_s > 0 for one in view.steps)
        assert entered(ledger) == ["first", "second", "third"]
        assert view.result["seen"] == ["first", "second"]
        assert view.result["path"] == str(jobs.job_folder(job_id) / "scratch" / "out.bin")
        assert not (jobs.job_folder(job_id) / "scratch").exists()
        assert view.created_at <= view.started_at <= view.ended_at
        wait_until(lambda: not running(data_folder), 2)

    def test_progress_never_goes_back_and_ends_at_its_total(self):
        job_id = submit(step("a", "count", count=30, delay_s=0.02), step("b", "backwards"))
        assert wait_for_end(job_id).status == "done"
        progress = events(job_id, Progress)
        for name, total in (("a", 30.0), ("b", 10.0)):
            done = [event.done for event in progress if event.step == name]
            assert done == sorted(done)
            assert done[-1] == total
        assert 3 <= sum(event.step == "a" for event in progress) <= 12, "throttled to about ten a second"

    def test_a_follower_sees_the_job_move_and_then_rests(self):
        job_id = submit(step("a", "count", count=20, delay_s=0.03))
        follower = jobs.Follower(job_id)
        seen: list[JobView] = []
        wait_until(lambda: seen.extend(filter(None, [follower.poll()])) or (seen and seen[-1].status == "done"))
        assert follower.poll() is None
        statuses = list(dict.fromkeys(view.status for view in seen))
        assert statuses == ["queued", "running", "done"]
        moving = [view for view in seen if view.status == "running" and view.stage_done]
        assert len(moving) > 2
        assert all(view.rate and view.eta_s is not None for view in moving)
        assert [view.stage_done for view in moving] == sorted(view.stage_done for view in moving)

    def test_memory_of_worker_and_children_is_recorded(self):
        job_id = submit(step("a", "count", count=15, delay_s=0.1))
        view = wait_for_end(job_id)
        assert view.peak_bytes is not None
        assert 5 << 20 < view.peak_bytes < 500 << 20

    def test_noise_cannot_reach_the_journal(self):
        job_id = submit(step("a", "noise"), step("b", "long_lines"))
        view = wait_for_end(job_id)
        assert (view.status, view.result) == ("done", {"quiet": True, "survived": True})
        folder = jobs.job_folder(job_id)
        assert b"forged" not in (folder / "events.jsonl").read_bytes()
        assert b"forged" in (folder / "worker.log").read_bytes()


class TestFailed:
    def test_a_stated_error_is_the_jobs_error(self):
        view = wait_for_end(submit(step("a", "count", count=1), step("b", "refuse"), step("c", "count", count=1)))
        assert view.status == "failed"
        assert view.error == {
            "kind": "InputError",
            "what": "The model is broken.",
            "why": "Its header ends early.",
            "remedy": "Fetch it again.",
            "log": "/tmp/a.log",
        }
        assert [one.status for one in view.steps] == ["done", "failed", "waiting"]

    def test_a_crash_is_stated_and_the_next_attempt_goes_on(self, ledger):
        job_id = submit(
            step("a", "count", count=2, ledger=str(ledger)),
            step("b", "abort", once=True),
            step("c", "count", count=3, ledger=str(ledger)),
        )
        view = wait_for_end(job_id)
        assert view.status == "failed"
        assert view.error is not None
        assert view.error["kind"] == "WorkerError"
        assert "SIGABRT" in view.error["why"]
        assert Path(view.error["log"]).exists()
        jobs.resume(job_id)
        view = wait_until_done(job_id)
        assert view.attempt == 2
        assert [one.status for one in view.steps] == ["skipped", "done", "done"]
        assert entered(ledger) == ["a", "c"]

    def test_an_environment_that_is_missing(self):
        view = wait_for_end(submit(step("a", "count", environment="nothing-run", count=1)))
        assert view.status == "failed"
        assert view.error is not None
        assert "edgewise setup nothing" in view.error["remedy"]

    @pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="needs the limits of another process")
    def test_a_full_disk_leaves_a_job_that_can_be_resumed(self, ledger, data_folder):
        steps = [step(name, "count", count=10, delay_s=0.05, ledger=str(ledger)) for name in "ab"]
        job_id = submit(*steps)
        wait_for_step(job_id, "b")
        folder = jobs.job_folder(job_id)
        limit = (folder / "events.jsonl").stat().st_size + 100
        job_process(job_id).rlimit(psutil.RLIMIT_FSIZE, (limit, limit))
        assert wait_for_end(job_id).status == "interrupted"
        wait_until(lambda: not running(data_folder), 2)
        assert "File too large" in (folder / "job.log").read_text()
        jobs.resume(job_id)
        view = wait_until_done(job_id)
        assert [one.status for one in view.steps] == ["skipped", "done"]
        assert entered(ledger) == ["a", "b", "b"]

    @pytest.mark.parametrize(
        ("words", "what"),
        [
            ("saving:\n[Errno 28] No space left on device: 'model.bin'", "The disk is full."),
            ("basic_ios::clear: iostream error", "A file could not be written; perhaps the disk was full."),
        ],
    )
    def test_a_library_that_cannot_write(self, words, what):
        error = wait_for_end(submit(step("a", "spill", words=words))).error
        assert error is not None
        assert (error["kind"], error["what"]) == ("ResourceError", what)
        assert words.splitlines()[-1] in error["why"]
        assert "resume" in error["remedy"]

    def test_a_data_folder_that_takes_nothing(self, data_folder):
        (data_folder / "jobs").write_text("in the way")
        with pytest.raises(ResourceError) as caught:
            submit(step("a", "count", count=1))
        assert caught.value.remedy


class TestCancel:
    @pytest.mark.parametrize("kind", ["count", "children", "hold"])
    def test_it_ends_within_a_second_with_all_its_processes(self, kind, ledger, data_folder):
        job_id = submit(step("a", kind, count=1000, delay_s=0.1, ledger=str(ledger)))
        wait_until(lambda: entered(ledger))
        started = time.monotonic()
        assert jobs.cancel(job_id).status == "cancelled"
        assert time.monotonic() - started < 1
        wait_until(lambda: not running(data_folder), 1 - (time.monotonic() - started))

    def test_a_job_that_has_not_begun_yet(self, ledger):
        job_id = submit(*(step(name, "count", count=1, ledger=str(ledger)) for name in "abc"))
        assert jobs.cancel(job_id).status == "cancelled"
        assert entered(ledger) in ([], ["a"])

    def test_a_cancelled_job_can_be_resumed(self, ledger):
        job_id = submit(
            step("a", "count", count=1, ledger=str(ledger)),
            step("b", "count", count=30, delay_s=0.05, ledger=str(ledger)),
        )
        wait_for_step(job_id, "b")
        view = jobs.cancel(job_id)
        assert [one.status for one in view.steps] == ["done", "waiting"]
        jobs.resume(job_id)
        view = wait_until_done(job_id)
        assert view.attempt == 2
        assert entered(ledger) == ["a", "b", "b"]

    def test_only_what_runs_can_be_cancelled(self):
        job_id = submit(step("a", "count", count=1))
        wait_for_end(job_id)
        with pytest.raises(UsageError, match="not running"):
            jobs.cancel(job_id)


class TestPause:
    @pytest.mark.parametrize("kind", ["count", "children", "hold"])
    def test_it_ends_within_a_second_and_goes_on_later(self, kind, ledger, data_folder):
        job_id = submit(
            step("a", "count", count=1, ledger=str(ledger)),
            step("b", kind, count=1000, delay_s=0.1, ledger=str(ledger)),
        )
        wait_until(lambda: len(entered(ledger)) == 2)
        started = time.monotonic()
        view = jobs.pause(job_id)
        assert time.monotonic() - started < 1
        assert (view.status, view.ended_early, view.error) == ("paused", True, None)
        assert [one.status for one in view.steps] == ["done", "waiting"]
        wait_until(lambda: not running(data_folder), 1 - (time.monotonic() - started))
        jobs.resume(job_id)
        wait_until(lambda: len(entered(ledger)) == 3)
        assert jobs.cancel(job_id).status == "cancelled"
        assert entered(ledger) == ["a", "b", "b"]

    def test_only_what_runs_can_be_paused(self):
        job_id = submit(step("a", "count", count=1000, delay_s=0.1))
        assert jobs.pause(job_id).status == "paused"
        with pytest.raises(UsageError, match="not running") as caught:
            jobs.pause(job_id)
        assert "paused" in caught.value.why
        with pytest.raises(UsageError, match="not running"):
            jobs.cancel(job_id)

    def test_a_signal_still_cancels(self):
        job_id = submit(step("a", "count", count=1000, delay_s=0.1))
        wait_for_step(job_id, "a")
        job_process(job_id).terminate()
        assert wait_for_end(job_id).status == "cancelled"


SUBMITTER = """
import sys
from tests.engine.work.watching import step, submit
print(submit(step("a", "count", count=40, delay_s=0.05)), flush=True)
if len(sys.argv) > 1:
    import time
    time.sleep(60)
"""


class TestApart:
    """A job belongs to nobody who started it."""

    def submitter(self, *arguments: str) -> "tuple[subprocess.Popen[str], str]":
        root = Path(__file__).parents[3]
        process = subprocess.Popen(
            [sys.executable, "-c", SUBMITTER, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            start_new_session=True,
        )
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        process.stdout.close()
        return process, job_id

    def test_it_goes_on_when_the_submitter_ends(self):
        process, job_id = self.submitter()
        assert process.wait(10) == 0
        assert wait_for_end(job_id).status == "done"

    @pytest.mark.parametrize("name", ["SIGHUP", "SIGKILL"])
    def test_it_goes_on_when_the_submitters_whole_session_is_ended(self, name, data_folder):
        process, job_id = self.submitter("stay")
        wait_for_step(job_id, "a")
        os.killpg(process.pid, getattr(signal, name))
        assert process.wait(10) == -getattr(signal, name)
        assert jobs.read_job(job_id).status == "running"
        assert wait_for_end(job_id).status == "done"

    def test_a_hangup_does_not_stop_it(self):
        job_id = submit(step("a", "count", count=20, delay_s=0.05))
        wait_for_step(job_id, "a")
        os.kill(job_process(job_id).pid, signal.SIGHUP)
        assert wait_for_end(job_id).status == "done"

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
    def test_a_polite_end_is_a_cancellation(self, name, ledger, data_folder):
        job_id = submit(step("a", "children", ledger=str(ledger)))
        wait_until(lambda: entered(ledger))
        started = time.monotonic()
        os.kill(job_process(job_id).pid, getattr(signal, name))
        assert wait_for_end(job_id).status == "cancelled"
        assert time.monotonic() - started < 1
        wait_until(lambda: not running(data_folder), 1)

    def test_its_session_is_its_own(self):
        job_id = submit(step("a", "count", count=20, delay_s=0.05))
        wait_for_step(job_id, "a")
        job = job_process(job_id)
        assert os.getsid(job.pid) == job.pid != os.getsid(0)
        assert job.terminal() is None


class TestLock:
    def test_it_tells_alive_from_dead_and_watching_does_not_disturb(self):
        job_id = submit(step("a", "count", count=30, delay_s=0.05))
        wait_for_step(job_id, "a")
        lock = jobs.job_folder(job_id) / "lock"
        assert jobs.alive(job_id)
        with pytest.raises(filelock.Timeout), filelock.FileLock(lock, timeout=0):
            pass
        assert wait_for_end(job_id).status == "done"
        wait_until(lambda: not jobs.alive(job_id), 2)

    def test_watchers_that_ask_without_pause_do_not_keep_a_job_from_starting(self):
        job_ids = [submit(step("a", "count", count=3)) for _ in range(3)]
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                for job_id in job_ids:
                    jobs.alive(job_id)

        threads = [threading.Thread(target=watch) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for job_id in job_ids:
                assert wait_for_end(job_id).status == "done"
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_a_pid_used_again_is_not_taken_for_the_worker(self, data_folder):
        job_id = submit(step("a", "count", count=1), step("b", "abort", once=True))
        assert wait_for_end(job_id).status == "failed"
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
            (jobs.job_folder(job_id) / "worker.pid").write_text(str(stranger.pid))
            jobs.resume(job_id)
            wait_until_done(job_id)
            assert stranger.poll() is None
            stranger.kill()


class TestList:
    def test_newest_first_and_broken_ones_passed_over(self, data_folder):
        ids = [submit(step("a", "count", count=1)) for _ in range(3)]
        for job_id in ids:
            wait_for_end(job_id)
        folder = data_folder / "jobs"
        broken = {
            "20200101-000000-dead": b"{",
            "20200101-000001-dead": b"\xff" * 100,
            "20200101-000002-dead": b"[" * 100_000,
            "20200101-000003-dead": b'{"plan": 1}',
            "20200101-000004-dead": b"",
        }
        for name, content in broken.items():
            (folder / name).mkdir()
            (folder / name / "plan.json").write_bytes(content)
            with pytest.raises(InputError) as caught:
                jobs.read_job(name)
            assert str(folder / name) in caught.value.remedy
        (folder / "20990101-000000-dead").mkdir()
        (folder / "stray file").touch()
        shutil.copytree(folder / ids[0], folder / f".{ids[0]}-removed")
        assert [view.id for view in jobs.list_jobs()] == ids[::-1]
        assert jobs.find_job("last") in broken or jobs.find_job("last") == ids[-1]

    def test_a_job_is_found_by_part_of_its_id(self, data_folder):
        job_id = submit(step("a", "count", count=1))
        assert jobs.find_job(job_id[-4:]) == jobs.find_job(job_id[:12]) == jobs.find_job("last") == job_id
        with pytest.raises(InputError, match="no job 'zzz'"):
            jobs.find_job("zzz")
        shutil.copytree(jobs.job_folder(job_id), data_folder / "jobs" / f"{job_id}0")
        with pytest.raises(UsageError, match="2 jobs"):
            jobs.find_job(job_id[:12])
        wait_for_end(job_id)

    @pytest.mark.parametrize("name", ["", ".", "..", "../jobs", ".hidden", "nothing", "a\0b"])
    def test_a_name_that_is_no_job(self, name):
        with pytest.raises(InputError):
            jobs.read_job(name)

    def test_removing_frees_its_space(self, data_folder):
        job_id = submit(step("a", "make", output="a.bin", blocks=4), step("b", "count", count=1000, delay_s=0.05))
        wait_for_step(job_id, "b")
        with pytest.raises(UsageError, match="running"):
            jobs.remove(job_id)
        jobs.cancel(job_id)
        assert jobs.remove(job_id) > 4 << 16
        assert list((data_folder / "jobs").iterdir()) == []
        assert jobs.list_jobs() == []
        with pytest.raises(InputError):
            jobs.find_job("last")

    def test_a_follower_of_a_removed_job_does_not_fall_over(self):
        job_id = submit(step("a", "count", count=100, delay_s=0.05))
        wait_for_step(job_id, "a")
        follower = jobs.Follower(job_id)
        job_process(job_id).kill()
        wait_until(lambda: not jobs.alive(job_id))
        follower.poll()
        jobs.remove(job_id)
        follower.poll()
        assert follower.view.status == "interrupted"

    def test_a_file_name_that_is_no_utf_8(self, data_folder):
        with pytest.raises(InputError, match="written down"):
            submit(step("a", "count", count=1, source="/models/\udcff"))
        assert list((data_folder / "jobs").iterdir()) == []


def test_every_failure_of_a_job_is_restorable(tmp_path):
    view = wait_for_end(submit(step("a", "stumble")))
    error = EdgewiseError.from_dict(dict(view.error or {}))
    assert "ValueError" in error.what
    assert msgspec.json.encode(view)
