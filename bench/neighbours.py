"""How much of the machine others have used meanwhile: what tells a good run from a bad one."""

import os
import resource
import time
from pathlib import Path
from typing import NamedTuple

from bench.peer import cpu_seconds
from tests.servers.process import descendants

_IDLE = (3, 4)  # idle and iowait among the columns of /proc/stat
_COLUMNS = 8  # the two behind them are counted in the first two as well: proc(5)


class _Times(NamedTuple):
    """Seconds of CPU: of the whole machine, of it idle, and of this process and what came from it."""

    all: float
    idle: float
    own: float


class Neighbours:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._before = _times()

    def share(self) -> float:
        """The part of the machine's CPU time that others had since then, other virtual machines included."""
        before, after = self._before, _times()
        others = (after.all - before.all) - (after.idle - before.idle) - (after.own - before.own)
        return max(others, 0.0) / (after.all - before.all)


def _times() -> _Times:
    columns = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1 : _COLUMNS + 1]]
    ticks = os.sysconf("SC_CLK_TCK")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = cpu_seconds(info.pid for info in descendants(os.getpid()))
    own = time.process_time() + ended.ru_utime + ended.ru_stime + running
    return _Times(sum(columns) / ticks, sum(columns[column] for column in _IDLE) / ticks, own)
