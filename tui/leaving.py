"""The ways out: signals that end the application tidily, and what is said about jobs that go on."""

import asyncio
import os
import signal
import threading
from typing import Any

from textual.app import App

from engine.errors import EdgewiseError

LEAVE_S = 3.0


def leave_on_signals(app: App[Any]) -> None:
    """End tidily on SIGINT, SIGTERM and SIGHUP; a terminal that is gone blocks its writer, so don't wait for ever."""
    loop = asyncio.get_running_loop()

    def leave(number: int, frame: object) -> None:
        last_resort = threading.Timer(LEAVE_S, os._exit, (128 + number,))
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(app.exit, 128 + number)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, leave)


def farewell() -> str:
    """A line about the jobs that go on in the background; "" where there is none."""
    from engine.work import jobs

    try:
        running = sum(job.status == "running" for job in jobs.list_jobs())
    except (EdgewiseError, OSError):
        return ""
    goes = "1 job goes" if running == 1 else f"{running} jobs go"
    return f"{goes} on in the background. Watch with `edgewise jobs attach`, or open `edgewise` again.\n" * bool(
        running
    )
