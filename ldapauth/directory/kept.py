"""Idle connections of one kind, kept for the next question, and how many may be in use at a time.

Owns which connection is taken and when one is given up. Knows nothing of what is asked, of servers' health, or of how
a connection is opened.
"""

import collections
import contextlib
import math
import queue
import threading

from ldapauth.config import Server
from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded

from .connection import Connection

MAX_AGE = 3600.0
"""Seconds after which a connection is not used again, so that new addresses and certificates come into use."""


class Kept:
    """Connections that nobody uses at the moment, by server. For any number of threads.

    Args:
        most: Connections in use at a time.
        idle_limit: Seconds without a question after which a connection is given up.
    """

    def __init__(self, most: int, idle_limit: float) -> None:
        self._most = most
        self._idle_limit = idle_limit
        self._idle: dict[Server, collections.deque[Connection]] = {}
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._slots: queue.SimpleQueue[None] = queue.SimpleQueue()  # a semaphore of the library takes ten times as long
        for _ in range(self._most):
            self._slots.put(None)

    def enter(self, deadline: Deadline) -> None:
        """Waits until a connection may be used; `leave` has to follow.

        Raises:
            DeadlineExceeded: Too many were in use for all of the time.
        """
        try:
            self._slots.get(timeout=deadline.remaining())
        except queue.Empty:
            raise DeadlineExceeded("every connection was in use for too long (max_connections)") from None

    def leave(self) -> None:
        """Says that a connection is used no more."""
        self._slots.put(None)

    def enter_with(self, server: Server) -> Connection | None:
        """The connection that was used last, if it may be used at once and looks alive; then `leave` has to follow."""
        try:
            self._slots.get_nowait()
        except queue.Empty:
            return None
        fit = False
        try:
            connection = self._idle[server].pop()
            fit = connection.fit(self._idle_limit, MAX_AGE)
            if fit:
                return connection
            connection.close()
        except (KeyError, IndexError):
            pass
        finally:
            if not fit:
                self.leave()
        return None

    def take(self, server: Server) -> Connection | None:
        """A connection that looks alive. The one used last is taken first, so that what is too many falls idle."""
        idle = self._idle.get(server)
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was quicker
                break
            if connection.fit(self._idle_limit, MAX_AGE):
                return connection
            connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keeps a connection for the next question, unless it is closed; the oldest make room for it."""
        if connection.closed:
            return
        idle = self._idle.get(connection.server)
        if idle is None:
            with self._lock:
                idle = self._idle.setdefault(connection.server, collections.deque())
        idle.append(connection)
        if len(idle) > 1:
            with contextlib.suppress(IndexError):  # another thread may take what is looked at
                while len(idle) > 1 and idle[0].idle_for > self._idle_limit:
                    idle.popleft().close()

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections are in use, and how many are idle."""
        return self._most - self._slots.qsize(), sum(map(len, list(self._idle.values())))

    @property
    def silent_for(self) -> float:
        """Seconds since the last answer on a connection that is idle and looks alive; infinite where there is none."""
        idle = [connection for kept in list(self._idle.values()) for connection in list(kept)]
        return min((each.idle_for for each in idle if each.seems_alive), default=math.inf)

    def drop(self, server: Server) -> None:
        """Closes every connection to a server."""
        idle = self._idle.get(server)
        while idle:
            with contextlib.suppress(IndexError):
                idle.pop().close()

    def close(self) -> None:
        """Closes every connection."""
        for server in list(self._idle):
            self.drop(server)

    def after_fork(self) -> None:
        """Forgets, in a forked child, the connections of the parent without a word to the servers, and its locks."""
        for idle in self._idle.values():
            for connection in idle:
                connection.abandon()
        self._idle.clear()
        self._reset()
