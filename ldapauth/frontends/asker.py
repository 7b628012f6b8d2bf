"""Whether Prosody still waits for an answer on its terminal: while it does, all of it sleeps.

Owns the look at the parent process. Prosody may go on at any time: after a time-out that is shorter than ours, or when
a signal interrupts it, which lpty takes for the end of the wait; a reload sends one, and so does another helper that
ends. What is answered then would be taken for the answer to the next question. The terminal does not show it, but the
kernel counts how often a process falls asleep.
"""

import os

from ldapauth.deadline import now

_CARRIED_OVER = 1.0
"""Seconds after which the kernel has certainly carried an answer over to the other end of the terminal. Before that it
may have whoever begins to wait there sleep until it is done (n_tty_poll in Linux)."""

_HAS_SLEPT = -1


class Asker:
    """The parent process."""

    def __init__(self) -> None:
        self._answered = now() - _CARRIED_OVER
        self.has_asked()

    def has_asked(self) -> None:
        """Notes what it does, just when its question is there: it has not begun to wait, or it sleeps."""
        self._pid = os.getppid()
        asleep, naps = _look(self._pid)
        lately = now() < self._answered + _CARRIED_OVER
        self._naps_awake = _HAS_SLEPT if asleep else naps
        self._most_naps = naps + (0 if asleep else 1 + lately)

    def may_sleep(self) -> None:
        """Notes it if it sleeps by now: from here on any other nap is one too many."""
        asleep, naps = _look(self._pid)
        if asleep:
            self._naps_awake = _HAS_SLEPT
            self._most_naps = min(self._most_naps, naps)

    def was_answered(self) -> None:
        """Notes when."""
        self._answered = now()

    @property
    def waits(self) -> bool:
        """Whether all that it has done since it asked is to fall asleep; where the system does not tell, yes."""
        return self._has_only_slept() or self._has_only_slept()  # it may fall asleep in the middle of a look

    def _has_only_slept(self) -> bool:
        asleep, naps = _look(self._pid)
        if os.getppid() != self._pid:
            return False
        # Awake it waits only if it has not slept yet, since others have the processor.
        return naps <= self._most_naps if asleep else naps == self._naps_awake


def _look(pid: int) -> tuple[bool, int]:
    """Whether a process sleeps, and how often it has fallen asleep (proc(5), /proc/pid/status)."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123 - for each question, so by the shortest way
            text = status.read()
    except OSError:
        return True, 0
    naps = text.partition(b"\nvoluntary_ctxt_switches:")[2].partition(b"\n")[0]
    return b"\nState:\tS" in text, int(naps or 0)
