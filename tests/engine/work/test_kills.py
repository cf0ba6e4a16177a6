import contextlib
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from engine.errors import UsageError
from engine.work import jobs
from engine.work.job import Job
from engine.work.journal import JournalReader
from engine.work.protocol import JobEnded, JobStarted
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
    worker_of,
)

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="process groups and signals"),
    pytest.mark.usefixtures("fake_environment"),
]


KILLS = {
    "job": ("interrupted", lambda job, worker: job.kill()),
    "worker": ("failed", lambda job, worker: worker.kill()),
    "both": ("interrupted", lambda job, worker: (job.kill(), worker.kill())),
    "both, the worker first": ("interrupted or failed", lambda job, worker: (worker.kill(), job.kill())),
}


class TestKilled:
    @pytest.mark.parametrize("kill", KILLS)
    @pytest.mark.parametrize("kind", ["children", "hold", "make"])
    def test_nothing_is_left_running_and_the_job_says_so(self, kill, kind, ledger, data_folder):
        job_id = submit(step("a", kind, output="out", blocks=1000, delay_s=0.05, ledger=str(ledger)))
        status, strike = KILLS[kill]
        least = 6 if kind == "children" else 3  # the job, the worker and its guard; the children
        wait_until(lambda: entered(ledger) and len(running(data_folder)) >= least)
        strike(job_process(job_id), worker_of(job_id))
        view = wait_for_end(job_id)
        assert view.status in status
        wait_until(lambda: not running(data_folder), 2)
        if view.status == "failed":
            assert "SIGKILL" in view.error["why"]

    @pytest.mark.parametrize("kill", KILLS)
    def test_the_next_attempt_redoes_only_what_is_missing(self, kill, ledger, data_folder):
        job_id = submit(
            step("a", "make", output="a.bin", blocks=3, ledger=str(ledger)),
            step("b", "make", output="b.bin", blocks=40, delay_s=0.02, ledger=str(ledger)),
            step("c", "count", count=3, ledger=str(ledger)),
        )
        wait_for_step(job_id, "b", done=3)
        scratch = jobs.job_folder(job_id) / "scratch"
        KILLS[kill][1](job_process(job_id), worker_of(job_id))
        wait_for_end(job_id)
        assert (scratch / "a.bin").exists()
        assert not (scratch / "b.bin").exists()
        jobs.resume(job_id)
        view = wait_until_done(job_id)
        assert [one.status for one in view.steps] == ["skipped", "done", "done"]
        assert entered(ledger) == ["a", "b", "b", "c"]
        assert view.error is None
        assert view.result["path"].endswith("b.bin")
        assert [event.attempt for event in events(job_id, JobStarted)] == [1, 2]

    def test_a_worker_that_outlived_its_job_is_ended_before_the_next_attempt(self, ledger, data_folder):
        job_id = submit(step("a", "make", output="a.bin", blocks=150, delay_s=0.02, ledger=str(ledger)))
        wait_for_step(job_id, "a", done=3)
        old = worker_of(job_id)
        os.killpg(old.pid, signal.SIGSTOP)  # neither it nor its guard can see the end of the job
        job_process(job_id).kill()
        wait_for_end(job_id)
        assert old.status() == psutil.STATUS_STOPPED
        jobs.resume(job_id)
        wait_until(lambda: len(entered(ledger)) == 2)
        assert old.pid not in {process.pid for process in running(data_folder)}
        wait_until_done(job_id)

    def test_a_job_does_not_take_itself_for_the_worker_of_old(self, monkeypatch):
        """After a restart of a container, pids begin again at the lowest."""
        job_id = submit(step("a", "refuse"))
        wait_for_end(job_id)
        folder = jobs.job_folder(job_id)
        (folder / "worker.pid").write_text(str(os.getpid()))
        monkeypatch.chdir(folder / "scratch")
        killed: list[int] = []
        monkeypatch.setattr("engine.work.job.kill_group", killed.append)
        Job(job_id)._end_orphan()
        assert killed == []
        assert not (folder / "worker.pid").exists()

    def test_a_job_killed_before_it_began(self, ledger):
        job_id = submit(step("a", "count", count=1, ledger=str(ledger)))
        job_process(job_id).kill()
        assert wait_for_end(job_id, 2).status == "interrupted"
        jobs.resume(job_id)
        wait_until_done(job_id)
        assert entered(ledger) == ["a"]

    def test_a_step_done_but_not_written_down_is_found_done(self, ledger):
        """Killed between the rename of a result and the checkpoint: the step runs again and finds its result."""
        job_id = submit(step("a", "make", output="a.bin", blocks=2, ledger=str(ledger)), step("b", "abort", once=True))
        assert wait_for_end(job_id).status == "failed"
        (jobs.job_folder(job_id) / "steps" / "00-a.json").unlink()
        jobs.resume(job_id)
        view = wait_until_done(job_id)
        assert [one.status for one in view.steps] == ["done", "done"]
        assert entered(ledger) == ["a"]

    @pytest.mark.parametrize("rubbish", [b"", b"{", b"\xff\x00", b"[]"])
    def test_a_broken_checkpoint_counts_for_nothing(self, rubbish, ledger):
        job_id = submit(step("a", "count", count=1, ledger=str(ledger)), step("b", "abort", once=True))
        assert wait_for_end(job_id).status == "failed"
        (jobs.job_folder(job_id) / "steps" / "00-a.json").write_bytes(rubbish)
        jobs.resume(job_id)
        wait_until_done(job_id)
        assert entered(ledger) == ["a", "a"]

    def test_a_torn_last_line_is_passed_over_and_the_next_attempt_writes_on(self):
        job_id = submit(step("a", "count", count=2), step("b", "abort", once=True))
        assert wait_for_end(job_id).status == "failed"
        journal = jobs.job_folder(job_id) / "events.jsonl"
        whole = journal.read_bytes().splitlines(keepends=True)
        assert b"job_ended" in whole[-1]
        journal.write_bytes(b"".join(whole[:-1]) + whole[-1][:25])
        assert jobs.read_job(job_id).status == "interrupted"
        jobs.resume(job_id)
        wait_until_done(job_id)
        numbers = [stamped.n for stamped in JournalReader(journal).read_new()]
        assert numbers == sorted(set(numbers))
        assert len(events(job_id, JobEnded)) == 1


class TestResume:
    def test_two_at_once_make_one_attempt(self, ledger, data_folder):
        job_id = submit(step("a", "refuse"), step("b", "count", count=1, ledger=str(ledger)))
        assert wait_for_end(job_id).status == "failed"
        barrier = threading.Barrier(2)

        def resume() -> None:
            barrier.wait()
            with contextlib.suppress(UsageError):
                jobs.resume(job_id)

        threads = [threading.Thread(target=resume) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(events(job_id, JobEnded)) == 2)
        wait_until(lambda: not running(data_folder))
        assert [event.attempt for event in events(job_id, JobStarted)] == [1, 2]
        assert jobs.read_job(job_id).status == "failed"

    def test_a_running_or_finished_job_is_not_resumed(self):
        job_id = submit(step("a", "count", count=20, delay_s=0.03))
        wait_for_step(job_id, "a")
        with pytest.raises(UsageError, match="running already"):
            jobs.resume(job_id)
        wait_for_end(job_id)
        with pytest.raises(UsageError, match="is done"):
            jobs.resume(job_id)

    def test_a_second_process_of_the_same_attempt_leaves_the_job_alone(self, ledger):
        job_id = submit(step("a", "count", count=20, delay_s=0.05, ledger=str(ledger)))
        wait_for_step(job_id, "a")
        command = [sys.executable, "-P", "-m", "engine.work.job", job_id, "1"]
        assert subprocess.run(command, check=False, timeout=30).returncode == 0
        assert wait_for_end(job_id).status == "done"
        assert entered(ledger) == ["a"]
