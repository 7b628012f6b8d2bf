"""A domain's servers: in which order they are asked, and which are left alone for a while after a failure.

Owns the order, the cool-down of failed servers, and what is logged of it: each change once, not each question. Knows
nothing of what is asked; opening and keeping connections is `pool.py`'s.
"""

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Sequence

from ldapauth import log
from ldapauth.config import Server
from ldapauth.deadline import Deadline, now
from ldapauth.errors import DirectoryUnavailable, UnclearAnswer

_log = logging.getLogger(__name__)

FIRST_COOL_DOWN = 0.5
LONGEST_COOL_DOWN = 30.0
"""Seconds for which a failed server is left alone; the time doubles with each failure in a row, give or take a
quarter, so that the workers of many machines do not come back to it at once."""

PROBE_PAUSE, PROBE_LIMIT = 0.2, 2.0
"""Seconds, when all servers have failed: until a question may try them again, at the most, and for which it is the only
one that tries. The pause is no longer than the failure took: a refused connection costs nothing, and need not be
spared; where each try hangs, all other questions are refused at once instead of waiting for dead servers too."""


class _State:
    """How one server has behaved. Guarded by the lock of its `Servers`."""

    __slots__ = ("failures", "try_again", "unclear")

    def __init__(self) -> None:
        self.failures = 0
        self.try_again = 0.0
        self.unclear = False  # whether it failed by an answer


class Servers:
    """The servers of a domain, in order of preference.

    Args:
        listed: The servers, best first; or gives them by a deadline, asked anew for each question, since DNS may change
            its mind.
        probe: Called in a thread of its own to find out whether a failed server is back.

    Attributes:
        usual: The first of the candidates without asking for them: as long as none has failed, where the list is fixed.
    """

    def __init__(
        self,
        listed: Sequence[Server] | Callable[[Deadline], Sequence[Server]],
        probe: Callable[[Server], None],
    ) -> None:
        self._listed = listed
        self._probe = probe
        self._first = None if callable(listed) else listed[0]
        self.usual = self._first
        self._states: dict[Server, _State] = {}
        self._next_try = 0.0  # when a question may try although all have failed
        self._troubled = False  # whether any server has failures
        self.reset_lock()

    def reset_lock(self) -> None:
        """For a forked child, in which another thread may have held the lock."""
        self._lock = threading.Lock()

    def candidates(self, deadline: Deadline) -> Sequence[Server]:
        """The servers to try for one question, best first; empty while all of them cool down.

        A failed server whose time is up is tried in the background while there is another to ask, so that no question
        waits for a server that may still be dead.
        """
        listed = self._listed(deadline) if callable(self._listed) else self._listed
        if not self._troubled:
            return listed
        with self._lock:
            self._states = {server: self._states.get(server) or _State() for server in listed}
            healthy = [server for server in listed if not self._states[server].failures]
            if healthy:
                due = [server for server in listed if self._is_due(server, healthy)]
            else:
                due = []
                healthy = self._desperate(listed)
        for server in due:
            with contextlib.suppress(RuntimeError):  # no more threads to be had: later, then
                threading.Thread(target=self._probe, args=(server,), name=f"probe {server}", daemon=True).start()
        return healthy

    def _is_due(self, server: Server, healthy: list[Server]) -> bool:
        """Whether it is time to try a failed server again; the caller does it."""
        state = self._states[server]
        if server in healthy or now() < state.try_again:
            return False
        state.try_again = now() + LONGEST_COOL_DOWN  # the probe's outcome will say better
        return True

    def _desperate(self, listed: Sequence[Server]) -> list[Server]:
        """All servers, when all have failed and it is this question's turn to try; else none."""
        if now() < self._next_try:
            return []
        self._next_try = now() + PROBE_LIMIT
        return sorted(listed, key=lambda server: self._states[server].try_again)

    def is_up(self, server: Server) -> bool:
        """Whether a server could be asked when it was tried last, or was never tried."""
        state = self._states.get(server)
        return state is None or not state.failures

    @property
    def unclear(self) -> bool:
        """Whether a server that is left alone had answered, and not to be understood: that is no outage."""
        return any(state.failures and state.unclear for state in list(self._states.values()))

    def failed(self, server: Server, why: DirectoryUnavailable, took: float) -> None:
        """Notes that a server can't be asked, which took so many seconds, and leaves it alone for a while."""
        with self._lock:
            state = self._states.setdefault(server, _State())
            state.failures += 1
            state.unclear = isinstance(why, UnclearAnswer)
            self._next_try = now() + min(took, PROBE_PAUSE)
            cool_down = min(FIRST_COOL_DOWN * 2 ** min(state.failures - 1, 16), LONGEST_COOL_DOWN)
            state.try_again = now() + cool_down * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            first = state.failures == 1
            self._troubled, self.usual = True, None
        if first:
            log.event(_log, logging.WARNING, "server-failed", server=str(server), error=str(why))

    def answered(self, server: Server) -> None:
        """Notes that a server can be asked."""
        if not self._troubled:
            return
        state = self._states.get(server)
        if state is None or not state.failures:
            return
        with self._lock:
            failures, state.failures = state.failures, 0
            self._troubled = any(other.failures for other in self._states.values())
            self.usual = None if self._troubled else self._first
        if not failures:  # another thread was quicker, and has said so
            return
        log.event(_log, logging.INFO, "server-back", server=str(server), failures=str(failures))
