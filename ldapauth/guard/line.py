"""The way to a server that may be slow or away: one thread goes it, and nobody waits for it for longer than he will.

Owns the thread, and whether the server is taken to be there. Everything happens in the thread, name resolution and
connecting included, so that no wait needs a limit of its own. Knows nothing of what is asked.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .memory import Patience

_T = TypeVar("_T")

RETRY = 0.5
"""Seconds between two looks whether a server is back."""


class Away(Exception):
    """The server can't be asked, or not in time."""


class _Job(Generic[_T]):
    """Something to be done in the thread."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self.work = work
        self.done = threading.Event()
        self.result: list[_T] = []  # empty where it failed


class Line:
    """One thread, and who waits for it.

    Args:
        failed: Called, by whoever notices, when the server is found away: with why, in a word or two.
        revive: Called by the thread now and then while it is away; raises if it still is.
    """

    def __init__(self, failed: Callable[[str], None], revive: Callable[[], None]) -> None:
        self._failed = failed
        self._revive = revive
        self.reset()

    def reset(self) -> None:
        """Starts anew, without a thread; for a forked child, which has none of its parent's."""
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._away = False

    def call(self, work: Callable[[], _T], patience: Patience) -> _T:
        """What comes of something that the thread does.

        Raises:
            Away: It can't be done, or takes longer than the patience lasts. Then it may yet be done later.
        """
        if self._away or patience.left <= 0:
            raise Away
        job = _Job(work)
        self._demand_thread()
        self._jobs.put(job)  # type: ignore[arg-type] # the thread doesn't look at results
        start = time.monotonic()
        in_time = job.done.wait(patience.left)
        patience.left -= time.monotonic() - start
        if not in_time:
            self._lose("too slow")
        if not job.result:
            raise Away
        return job.result[0]

    def close(self) -> None:
        """Has the thread end, once it has done what it was asked to."""
        self._jobs.put(None)

    def _demand_thread(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, args=(self._jobs,), name="guard", daemon=True)
                    self._thread.start()

    def _run(self, jobs: "queue.SimpleQueue[_Job[object] | None]") -> None:
        while job := jobs.get():
            if not self._away:
                try:
                    job.result.append(job.work())
                except Exception as error:  # noqa: BLE001 - whatever a library raises: it is no reason to fail a login
                    self._lose(type(error).__name__)
            job.done.set()
            while self._away and jobs.empty():
                self._try_again()

    def _try_again(self) -> None:
        time.sleep(RETRY)
        try:
            self._revive()
        except Exception:  # noqa: BLE001 - likewise
            return
        self._away = False

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._away:
                return
            self._away = True
        self._failed(why)
