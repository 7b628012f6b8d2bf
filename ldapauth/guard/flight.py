"""One question at a time of those that are the same: the answer to the first one may answer the others.

A device with an old password may open several connections at once, and each would be counted. Imports the deadline.
"""

import threading
from collections.abc import Hashable

from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded


class Flights:
    """The questions under way in this process, each with those that wait for it. For any number of threads.

    There is no lock: to put a question into a dictionary if it is not there is one step, and so is to take it out.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, list[threading.Lock]] = {}

    def enter(self, question: Hashable, deadline: Deadline) -> None:
        """Waits until nobody else is asking it; `leave` has to follow.

        Raises:
            DeadlineExceeded: Somebody still is.
        """
        mine: list[threading.Lock] = []
        while (waiting := self._under_way.setdefault(question, mine)) is not mine:
            turn = threading.Lock()
            turn.acquire()
            waiting.append(turn)
            # Whoever leaves after this look finds who waits; who has left before it does not, and need not.
            if self._under_way.get(question) is waiting and not turn.acquire(timeout=deadline.remaining()):
                raise DeadlineExceeded("the same question was still under way")

    def leave(self, question: Hashable) -> None:
        """Has those who wait try again, of whom one gets in."""
        for turn in self._under_way.pop(question):
            turn.release()

    def __len__(self) -> int:
        return len(self._under_way)
