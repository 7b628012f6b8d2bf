"""One question at a time of those that are the same: the answer to the first one may answer the others.

A device with an old password may open several connections at once, and each would be counted. Imports the deadline.
"""

import threading
from collections.abc import Hashable
from types import TracebackType

from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded


class Flights:
    """The questions under way in this process, each with those that wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, _Flight] = {}

    def of(self, question: Hashable, deadline: Deadline) -> "_Boarding":
        """A context that only one thread at a time is in for a question."""
        return _Boarding(self, question, deadline)

    def enter(self, question: Hashable, deadline: Deadline) -> None:
        """Waits until nobody else is asking it.

        Raises:
            DeadlineExceeded: Somebody still is.
        """
        with self._lock:
            flight = self._under_way.get(question)
            if flight is None:
                self._under_way[question] = flight = _Flight()
            flight.people += 1
        try:
            if flight.lock.acquire(timeout=0 if flight.people == 1 else deadline.remaining()):
                return
            raise DeadlineExceeded("the same question was still under way")  # noqa: TRY301 - one place cleans up
        except BaseException:
            self._leave(question, flight)
            raise

    def leave(self, question: Hashable) -> None:
        """Lets the next one in."""
        flight = self._under_way[question]
        flight.lock.release()
        self._leave(question, flight)

    def _leave(self, question: Hashable, flight: "_Flight") -> None:
        with self._lock:
            flight.people -= 1
            if not flight.people:
                del self._under_way[question]

    def __len__(self) -> int:
        return len(self._under_way)


class _Flight:
    """One question, and how many are asking it or waiting for it."""

    __slots__ = ("lock", "people")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.people = 0


class _Boarding:
    __slots__ = ("_deadline", "_flights", "_question")

    def __init__(self, flights: Flights, question: Hashable, deadline: Deadline) -> None:
        self._flights = flights
        self._question = question
        self._deadline = deadline

    def __enter__(self) -> None:
        self._flights.enter(self._question, self._deadline)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._flights.leave(self._question)
