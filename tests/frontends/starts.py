"""Many starts of the generic program under the real lpty: `python -m tests.frontends.starts --starts 1000`.

At each start the first question comes at another moment: so early that the terminal still echoes, while the interpreter
loads, or long after. Right and wrong passwords alternate from there, so if an answer were taken for another question's,
so would every one after it, and half of them would let somebody in.
"""

import argparse
import os
import random
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.frontends.lpty import Command, Prosody, file_name, find_lua, is_echo, opened
from tests.frontends.programs import PATIENCE, configure
from tests.servers.process import process_info, wait_until
from tests.servers.slapd import Slapd

RIGHT = "auth:juliet:example.com:juliet-secret"
WRONG = "auth:juliet:example.com:wrong"
MEANT = {RIGHT: "accepted", WRONG: "refused"}

DEADLINE = 2.0
TIMEOUT = 2.5
"""Prosody's `external_auth_timeout`, in seconds, where a question may stay unanswered."""

_PROSODIES = 12
"""How many there are at a time: most of the time they wait."""

_QUESTIONS = 6
"""How many follow the first one of a start."""

ECHOED = "echoed"
"""A moment for the first question: on a processor that the child has to wait for until the question was sent."""

READY = "ready"
"""A moment for the first question: when the program has said that it is ready, however long that takes."""

MOMENTS = (ECHOED, 0, 0.003, 0.03, 0.06, 0.12, 0.3, READY)
"""Seconds from the start to the first question."""


@dataclass
class Report:
    """What came of the starts: how often each outcome, and what must never be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = [f"{count:6} {outcome}" for outcome, count in sorted(self.outcomes.items())]
        return "\n".join([*counts, *(f"MISTAKE {mistake}" for mistake in self.mistakes)])


class Starts:
    """The starts that one Prosody makes.

    Args:
        prosody: It.
        command: What it starts.
        listener: A socket that it had open before.
        chance: Where chance comes from.
        report: Where it is written down.
    """

    def __init__(
        self, prosody: Prosody, command: Command, listener: socket.socket, chance: random.Random, report: Report
    ) -> None:
        self._prosody, self._command, self._chance, self._report = prosody, command, chance, report
        self._inherited = file_name(listener.fileno())
        self._processors = os.sched_getaffinity(0)

    def start(self, moment: float | str, *, again: bool) -> None:
        """Starts the command and asks, on a new terminal or again on the one before."""
        if again:
            os.kill(self._command.pid, signal.SIGTERM)
            self._prosody.wait_until_over()
        else:
            self._prosody.new(self._command.path)
        question, other = self._chance.choice([(RIGHT, WRONG), (WRONG, RIGHT)])
        outcome = self._first(question, moment)
        self._judge(question, outcome, "first", allowed=not again or outcome == "silent")
        if is_echo(outcome, question) and self._chance.random() < 0.5:
            self._judge(other, self._prosody.ask(other, TIMEOUT), "at once after an echo")
        self._command.wait_until_ready()
        if {self._inherited, "/dev/ptmx"} & opened(self._command.pid):
            self._report.mistakes.append("an inherited file is open")
        for each in [other, question] * (_QUESTIONS // 2):
            self._judge(each, self._prosody.ask(each), "later", allowed=False)
        self._report.outcomes["starts on the same terminal" if again else "starts on a new terminal"] += 1

    def _first(self, question: str, moment: float | str) -> str:
        """Asks the first question of a start, at a moment."""
        os.sched_setaffinity(self._prosody.pid, {min(self._processors)} if moment == ECHOED else self._processors)
        if moment == READY:
            self._prosody.start()
            wait_until(self._command.is_ready, PATIENCE)
        elif isinstance(moment, (int, float)) and moment:
            self._prosody.start()
            time.sleep(moment * self._chance.uniform(0.5, 1.5))
        return self._prosody.ask(question, TIMEOUT)

    def _judge(self, question: str, outcome: str, when: str, *, allowed: bool = True) -> None:
        """Counts what came of a question: its own answer, or where that is allowed none or the question's echo."""
        word = "echoed" if is_echo(outcome, question) else "silent" if outcome == "silent" else "right"
        if outcome != MEANT[question] and not (allowed and word != "right"):
            self._report.mistakes.append(f"{when}: {question} {outcome}")
        self._report.outcomes[f"{when}: {word}"] += 1


def run(slapd: Slapd, *, count: int, seed: int) -> Report:
    """Starts the program so many times, several at a time, and returns what came of it."""
    lua = find_lua()
    total = Report()

    def some(first: int) -> Report:
        report = Report()
        with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as listener:
            directory = Path(name)
            log = directory / "log"
            command = Command.make(directory, configure(directory, slapd, deadline=DEADLINE, log=log), log)
            with Prosody(lua, pass_fds=[listener.fileno()]) as prosody:
                starts = Starts(prosody, command, listener, random.Random(f"{seed} {first}"), report)
                for index in range(first, count, _PROSODIES):
                    starts.start(MOMENTS[index % len(MOMENTS)], again=index // _PROSODIES % 3 == 2)
            assert wait_until(lambda: process_info(command.pid) is None, PATIENCE)  # its log is in the directory
        return report

    with ThreadPoolExecutor(_PROSODIES) as pool:
        for report in pool.map(some, range(min(count, _PROSODIES))):
            total.outcomes += report.outcomes
            total.mistakes += report.mistakes
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes as many starts as are wanted; the status is 1 if one verdict was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.frontends.starts")
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    options = parser.parse_args(arguments)
    with Slapd() as slapd:
        report = run(slapd, count=options.starts, seed=options.seed)
    sys.stdout.write(f"seed {options.seed}\n{report}\n")
    return 1 if report.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
