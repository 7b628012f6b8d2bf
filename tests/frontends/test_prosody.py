"""The generic program under the real lpty, called as Prosody's mod_auth_external calls it: see `lpty.lua`."""

import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.frontends import starts
from tests.frontends.lpty import NO_HURRY, Command, Prosody, file_name, find_lua, opened
from tests.frontends.programs import PATIENCE, Relay, configure
from tests.frontends.starts import MEANT, RIGHT, WRONG
from tests.servers import ldif
from tests.servers.people import person
from tests.servers.process import wait_until
from tests.servers.slapd import Slapd

TIMEOUT = 1.5
"""Prosody's `external_auth_timeout`, which is 5 by default, in seconds."""

DEADLINE = 1.0


@pytest.fixture(scope="module")
def lua() -> list[str]:
    """The command that runs Lua with lpty."""
    return find_lua()


@pytest.fixture
def command(slapd: Slapd, tmp_path: Path) -> Command:
    """An executable that runs the program with a configuration of its own."""
    log = tmp_path / "log"
    return Command.make(tmp_path, configure(tmp_path, slapd, deadline=DEADLINE, log=log), log)


@pytest.fixture
def prosody(lua: list[str], command: Command) -> Iterator[Prosody]:
    """Prosody, which has asked nothing yet."""
    with Prosody(lua) as prosody:
        prosody.new(command.path)
        yield prosody


@pytest.fixture
def change(slapd: Slapd) -> Iterator[Callable[[str], None]]:
    """Sets the nurse's password until the test is over."""
    nurse = person("nurse")

    def set_password(password: str) -> None:
        value = ldif.line("userPassword", password)
        slapd.modify_ldif(f"{ldif.line('dn', nurse.dn)}changetype: modify\nreplace: userPassword\n{value}")

    yield set_password
    set_password(str(nurse.password))


def verdicts_are_right(prosody: Prosody, questions: Sequence[str]) -> None:
    """Sees that each question gets its own answer."""
    assert [(question, prosody.ask(question)) for question in questions] == [
        (question, MEANT[question]) for question in questions
    ]


def test_no_verdict_is_wrong_after_any_of_fifty_starts(slapd: Slapd) -> None:
    """Whenever the first question of a start comes, it alone may not be answered; all others get their own answers."""
    seed = secrets.randbelow(1 << 32)
    report = starts.run(slapd, count=50, seed=seed)
    print(f"seed {seed}\n{report}")  # noqa: T201 - shown when it fails
    assert report.mistakes == []
    assert min(report.outcomes[f"first: {word}"] for word in ("echoed", "silent", "right")) > 0
    assert sum(count for name, count in report.outcomes.items() if name.startswith("starts")) == 50


def test_the_question_after_an_impatient_one_gets_its_own_answer(prosody: Prosody, command: Command) -> None:
    """When Prosody has gone on before the answer, that never comes: the program ends, and the next one is right."""
    prosody.start()
    command.wait_until_ready()
    verdicts_are_right(prosody, [WRONG])
    os.kill(command.pid, signal.SIGSTOP)
    assert prosody.ask(RIGHT, 0.2) == "silent"
    os.kill(command.pid, signal.SIGCONT)
    assert prosody.ask(WRONG, TIMEOUT) in {"silent", "refused"}
    if prosody.order("running") == "no":
        assert prosody.ask(RIGHT, TIMEOUT) == "silent"
        command.wait_until_ready()
    verdicts_are_right(prosody, [WRONG, RIGHT, RIGHT, WRONG])


def test_death_by_a_signal_is_for_good(prosody: Prosody, command: Command) -> None:
    """A command that did not end with status 0 is never started again: why the program takes care to."""
    prosody.start()
    command.wait_until_ready()
    os.kill(command.pid, signal.SIGKILL)
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
        inherited = {file_name(listener.fileno()), "/dev/ptmx"}
        assert opened(prosody.pid) >= inherited
        assert not opened(command.pid) & inherited
        assert not [name for name in opened(command.pid) if name.startswith("socket:")]


def test_the_program_ends_with_prosody(lua: list[str], command: Command) -> None:
    """When Prosody is gone, so is the program."""
    with Prosody(lua) as prosody:
        prosody.new(command.path)
        prosody.start()
        command.wait_until_ready()
        pid = command.pid
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE)
    assert "event=leaving" in command.log


def test_a_password_that_lpty_cuts_off_lets_nobody_in(
    prosody: Prosody, command: Command, change: Callable[[str], None]
) -> None:
    """A question with a NUL arrives without its end, and what is asked next is not taken for the rest of it."""
    change("begin-auth:juliet:example.com:end")
    prosody.start()
    command.wait_until_ready()
    assert prosody.ask("auth:nurse:example.com:begin-\0", TIMEOUT) == "silent"
    assert prosody.ask("auth:juliet:example.com:end", TIMEOUT) == "silent"
    prosody.wait_until_over()
    assert prosody.ask(WRONG, TIMEOUT) == "silent"
    command.wait_until_ready()
    verdicts_are_right(prosody, [WRONG, RIGHT])


@pytest.mark.parametrize("how", ["signal", "time-out"])
def test_an_answer_that_prosody_does_not_wait_for_never_leaves(
    slapd: Slapd, lua: list[str], tmp_path: Path, how: str
) -> None:
    """When Prosody goes on before the deadline, since a signal came or its time-out is shorter, nothing is answered."""
    log = tmp_path / "log"
    with Relay(slapd) as relay, Prosody(lua) as prosody:
        command = Command.make(tmp_path, configure(tmp_path, slapd, url=relay.url, log=log), log)
        prosody.new(command.path)
        prosody.start()
        command.wait_until_ready()
        verdicts_are_right(prosody, [RIGHT, WRONG])
        relay.hold()
        if how == "signal":
            assert prosody.order("distract", "0.3") == "ok"
        assert prosody.ask(RIGHT, NO_HURRY if how == "signal" else 0.3) == "silent"
        relay.release()
        prosody.wait_until_over()
        assert "whoever asked has not waited" in command.log
        assert prosody.ask(WRONG, TIMEOUT) == "silent"
        command.wait_until_ready()
        verdicts_are_right(prosody, [WRONG, RIGHT, WRONG])
