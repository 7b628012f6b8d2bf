"""How much time a question has left; imports only the errors.

A `Deadline` is made when a question arrives and goes with it to every place that waits. The clock goes on while the
machine sleeps: an answer that was due before a virtual machine was suspended is late when it wakes.
"""

import functools
import time

from .errors import DeadlineExceeded

# CLOCK_BOOTTIME counts suspend and CLOCK_MONOTONIC does not (Linux); elsewhere the monotonic clock has to do.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


# Seconds on the clock that deadlines use; only differences mean something. It is looked at a dozen times in a login.
now = functools.partial(time.clock_gettime, _CLOCK)


class Deadline:
    """A moment by which something must have happened, and when its time began to run."""

    __slots__ = ("_end", "_start")

    def __init__(self, start: float, end: float) -> None:
        self._start = start
        self._end = end

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """A deadline that many seconds from now."""
        start = now()
        return cls(start, start + seconds)

    def within(self, seconds: float, margin: float = 0.0) -> "Deadline":
        """So many seconds after the same start, or this deadline less a margin in seconds if that is sooner."""
        return Deadline(self._start, min(self._end - margin, self._start + seconds))

    def at_most(self, seconds: float) -> "Deadline":
        """This deadline, or so many seconds from now if that is sooner."""
        return Deadline(self._start, min(self._end, now() + seconds))

    def part(self, parts: int) -> "Deadline":
        """The first of so many equal parts of the time that is left."""
        moment = now()
        return Deadline(self._start, moment + (self._end - moment) / parts)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return now() - self._start

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return now() >= self._end

    @property
    def left(self) -> float:
        """Seconds left; 0 when nothing is."""
        return max(0.0, self._end - now())

    def remaining(self) -> float:
        """The seconds left, always more than none.

        Raises:
            DeadlineExceeded: Nothing is left.
        """
        left = self._end - now()
        if left <= 0:
            raise DeadlineExceeded("the time for the question ran out")
        return left

    def __repr__(self) -> str:
        return f"<Deadline in {self._end - now():.3f} s>"
