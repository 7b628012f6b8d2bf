"""The generic program under the real lpty, called as Prosody's mod_auth_external calls it: see `prosody.lua`."""

import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.frontends.programs import GENERIC, PATIENCE, configure
from tests.servers.process import wait_until
from tests.servers.slapd import Slapd

INSTALL_COMMAND = "apt-get install lua5.2 lua-lpty"

RIGHT = "auth:juliet:example.com:juliet-secret"
WRONG = "auth:juliet:example.com:wrong"
MEANT = {RIGHT: "accepted", WRONG: "refused"}

TIMEOUT = 1.5
"""Prosody's `external_auth_timeout`, which is 5 by default, in seconds."""

DEADLINE = 1.0

# Patience where it is not the timeout that is tried, for no busy machine to change an answer.
NO_HURRY = 10.0

_SCRIPT = Path(__file__).with_name("prosody.lua")


class Prosody:
    """What of Prosody calls lpty. A context manager after which neither it nor the helper runs.

    Args:
        lua: The command that runs Lua.
        pass_fds: Descriptors that it inherits, and opens no others but terminals.
    """

    def __init__(self, lua: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            [*lua, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=pass_fds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def order(self, *words: str) -> str:
        """Has something done and returns what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words).encode() + b"\n")
        assert select.select([self._process.stdout], [], [], PATIENCE)[0], words
        return self._process.stdout.readline().decode().removesuffix("\n")

    def new(self, command: Path) -> None:
        """Has a new terminal for a command."""
        assert self.order("new", str(command)) == "ok"

    def start(self) -> None:
        """Starts the command, as the first question would."""
        assert self.order("start") == "ok"

    def ask(self, question: str, timeout: float = NO_HURRY) -> str:
        """Asks, and returns what is made of the answer."""
        return self.order("ask", str(timeout), f"{question}\n".encode().hex())

    def wait_until_over(self) -> None:
        """Waits until the command has ended."""
        assert wait_until(lambda: self.order("running") == "no", PATIENCE)


@dataclass
class Command:
    """What `external_auth_command` names, and its log."""

    path: Path
    log_file: Path
    seen: int = field(default=0)

    @property
    def log(self) -> str:
        """What has been logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        """The process that was started last."""
        return int(re.findall(r"event=start pid=(\d+)", self.log)[-1])

    def wait_until_ready(self) -> None:
        """Waits until one more process answers."""
        self.seen += 1
        assert wait_until(lambda: self.log.count("event=ready") >= self.seen, PATIENCE), self.log
        time.sleep(0.1)  # what is typed is thrown away once more between that line and the first question


@pytest.fixture(scope="module")
def lua() -> list[str]:
    """The command that runs Lua with lpty."""
    for program in ("lua5.2", "lua5.1"):
        path = shutil.which(program)
        if path and subprocess.run([path, "-e", 'require "lpty"'], capture_output=True, check=False).returncode == 0:
            return [path]
    pytest.fail(f"no Lua with lpty: {INSTALL_COMMAND}")


@pytest.fixture
def command(slapd: Slapd, tmp_path: Path) -> Command:
    """An executable that runs the program with a configuration of its own."""
    log = tmp_path / "log"
    config = configure(tmp_path, slapd, deadline=DEADLINE, log=log)
    script = tmp_path / "helper"
    variables = f"LDAPAUTH_CONFIG='{config}' PYTHONUNBUFFERED=1"
    script.write_text(f"#!/bin/sh\nexport {variables}\nexec '{GENERIC.program}'\n")
    script.chmod(0o755)
    return Command(script, log)


@pytest.fixture
def prosody(lua: list[str], command: Command) -> Iterator[Prosody]:
    """Prosody, which has asked nothing yet."""
    with Prosody(lua) as prosody:
        prosody.new(command.path)
        yield prosody


def verdicts_are_right(prosody: Prosody, questions: Sequence[str]) -> None:
    """Sees that each question gets its own answer."""
    assert [(question, prosody.ask(question)) for question in questions] == [
        (question, MEANT[question]) for question in questions
    ]


def first_question(prosody: Prosody, question: str) -> str:
    """Asks what starts the command: either nothing comes of it, or its echo does, which fails the login too."""
    outcome = prosody.ask(question, TIMEOUT)
    echoes = [f"other {(question + end).encode().hex()}" for end in ("", "\n", "\r\n")]
    assert outcome in {"silent", *echoes}
    return outcome


@pytest.mark.parametrize("round_", range(4))
def test_no_verdict_is_wrong_after_a_first_question_that_may_be_echoed(
    prosody: Prosody, command: Command, round_: int
) -> None:
    """After starts on new terminals with a question at once, that one alone fails, and the others get their answers."""
    for number in range(round_, round_ + 3):
        prosody.new(command.path)
        first, *others = [RIGHT, WRONG, RIGHT, WRONG, WRONG, RIGHT, RIGHT][number % 2 :][:6]
        first_question(prosody, first)
        command.wait_until_ready()
        verdicts_are_right(prosody, others)


def test_no_verdict_is_wrong_after_a_start_that_was_waited_for(prosody: Prosody, command: Command) -> None:
    """A program that is ready before it is asked answers the first question too."""
    for questions in ([RIGHT, WRONG] * 2, [WRONG, RIGHT] * 2) * 2:
        prosody.new(command.path)
        prosody.start()
        command.wait_until_ready()
        verdicts_are_right(prosody, questions)


@pytest.mark.parametrize("first", [RIGHT, WRONG], ids=["right", "wrong"])
def test_no_verdict_is_wrong_after_restarts_on_the_same_terminal(
    prosody: Prosody, command: Command, first: str
) -> None:
    """When the program has ended with status 0, the next question starts it again and it alone is not answered."""
    other = WRONG if first == RIGHT else RIGHT
    for number in range(3):
        outcome = first_question(prosody, first)
        assert number == 0 or outcome == "silent"
        command.wait_until_ready()
        verdicts_are_right(prosody, [other, first, other])
        subprocess.run(["kill", str(command.pid)], check=True)
        prosody.wait_until_over()


def test_the_question_after_an_impatient_one_gets_its_own_answer(prosody: Prosody, command: Command) -> None:
    """When Prosody has gone on before the answer, that never comes: the program ends, and the next one is right."""
    prosody.start()
    command.wait_until_ready()
    verdicts_are_right(prosody, [WRONG])
    subprocess.run(["kill", "-STOP", str(command.pid)], check=True)
    assert prosody.ask(RIGHT, 0.2) == "silent"
    subprocess.run(["kill", "-CONT", str(command.pid)], check=True)
    assert prosody.ask(WRONG, TIMEOUT) in {"silent", "refused"}
    if prosody.order("running") == "no":
        first_question(prosody, RIGHT)
        command.wait_until_ready()
    verdicts_are_right(prosody, [WRONG, RIGHT, RIGHT, WRONG])


def test_death_by_a_signal_is_for_good(prosody: Prosody, command: Command) -> None:
    """A command that did not end with status 0 is never started again: why the program takes care to."""
    prosody.start()
    command.wait_until_ready()
    subprocess.run(["kill", "-KILL", str(command.pid)], check=True)
    prosody.wait_until_over()
    assert prosody.ask(RIGHT) == "refusing to start"


def test_inherited_sockets_are_closed(lua: list[str], command: Command) -> None:
    """The program keeps neither a socket that Prosody has open nor the master side of its terminal."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Prosody(lua, pass_fds=[listener.fileno()]) as prosody,
    ):
        prosody.new(command.path)
        prosody.start()
        command.wait_until_ready()
        name = f"/proc/self/fd/{listener.fileno()}"
        wanted = str(Path(name).readlink())
        assert wanted in _opened(prosody.pid)
        assert "/dev/ptmx" in {_plain(opened) for opened in _opened(prosody.pid)}
        opened = _opened(command.pid)
    assert wanted not in opened
    assert not [name for name in opened if name.startswith("socket:") or _plain(name) == "/dev/ptmx"]


def test_the_program_ends_with_prosody(lua: list[str], command: Command) -> None:
    """When Prosody is gone, so is the program."""
    with Prosody(lua) as prosody:
        prosody.new(command.path)
        prosody.start()
        command.wait_until_ready()
        pid = command.pid
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE)
    assert "event=leaving" in command.log


def _opened(pid: int) -> set[str]:
    """What a process has open."""
    return {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}


def _plain(name: str) -> str:
    """A terminal's master side by the name that it has anywhere."""
    return "/dev/ptmx" if name.endswith("/ptmx") else name
