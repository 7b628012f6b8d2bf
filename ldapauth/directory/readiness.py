"""Whether a directory can be asked: what its questions have seen last, and a probe when there was none for a while.

Owns how often is probed, however often somebody wants to know: a monitor must not be what a weak directory dies of, nor
wait for one that is dead. Knows nothing of whom it is told to.
"""

import logging
import threading
from collections.abc import Callable

from ldapauth import log
from ldapauth.deadline import Deadline, now
from ldapauth.errors import DirectoryUnavailable

_log = logging.getLogger(__name__)

FRESH = 5.0
"""Seconds for which an answer counts, and between the beginnings of two probes at least."""


class Readiness:
    """The last word on one directory; for any number of threads.

    Args:
        silent_for: Seconds since a server has answered on a connection that is still good.
        probe: Asks the directory something.
        limit: Seconds for a probe.
    """

    def __init__(self, silent_for: Callable[[], float], probe: Callable[[Deadline], object], limit: float) -> None:
        self._silent_for = silent_for
        self._probe = probe
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Begins anew, also in a forked child, in which no probe of its parent's goes on."""
        self._lock = threading.Lock()
        self._word = False
        self._began = float("-inf")
        self._done = threading.Event()
        self._done.set()

    def word(self, patience: Deadline) -> bool:
        """Whether the directory could be asked last; a probe that is under way is waited for, with patience."""
        if self._silent_for() < FRESH:
            return True
        self._begin()
        self._done.wait(patience.left)
        return self._word

    def _begin(self) -> None:
        """Begins a probe, unless one is under way or was a moment ago."""
        with self._lock:
            if now() - self._began < FRESH or not self._done.is_set():
                return
            self._began = now()
            self._done.clear()
        try:
            threading.Thread(target=self._find_out, name="readiness", daemon=True).start()
        except RuntimeError:  # no more threads to be had
            self._word = False
            self._done.set()

    def _find_out(self) -> None:
        word = False
        try:
            self._probe(Deadline.after(self._limit))
            word = True
        except DirectoryUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - it is no word, and the log says what happened
            log.bug(_log, error)
        finally:
            self._word = word
            self._done.set()
