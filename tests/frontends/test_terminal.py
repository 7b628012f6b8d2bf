"""The generic program on a pseudo-terminal, as Prosody runs it: each test is a rule of "Prosody's terminal".

`docs/clients.md` has the rules. Each was an authentication bypass or a permanent outage before it was one.
"""

import io
import os
import pty
import re
import select
import signal
import socket
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.frontends.programs import EJABBERD, PATIENCE, Relay, TerminalHelper, configure, hanging, patched, stopped
from tests.servers import ldif
from tests.servers.people import PEOPLE_WITH_ODD_PASSWORDS, Person, person
from tests.servers.process import process_info, wait_until
from tests.servers.slapd import Slapd

RIGHT = "auth:juliet:example.com:juliet-secret"
WRONG = "auth:juliet:example.com:wrong"
YES, NO = b"1\n", b"0\n"

# What a user can make of a change of the own password: two lines in one question of Prosody's.
BURST = "setpass:juliet:example.com:x\nsetpass:romeo:example.com:pwned\n"

# Seconds for an answer, where a test waits for them to pass.
SHORT = 1.0

# What a terminal that is not raw takes for keys, or changes, and the byte that ends a text in C.
KEYS = {
    "NUL": 0x00,
    "interrupt": 0x03,
    "end-of-file": 0x04,
    "return": 0x0D,
    "start": 0x11,
    "stop": 0x13,
    "suspend": 0x1A,
    "quit": 0x1C,
    "erase": 0x7F,
}

# What Python, Unicode or somebody's editor takes for the end of a line, and the protocol doesn't.
LINE_BREAKS = {
    "CR": "\r",
    "VT": "\v",
    "FF": "\f",
    "FS": "\x1c",
    "GS": "\x1d",
    "RS": "\x1e",
    "NEL": "\x85",
    "LS": "\u2028",
    "PS": "\u2029",
}

# Bytes of a line with its end: Prosody's longest, around what a terminal keeps (4,096) and hands over (4,095) at a
# time, and around the longest that is understood (65,536 and the end).
SIZES = [1001, 4094, 4095, 4096, 4097, 8191, 65_537, 65_538, 200_000]


@pytest.fixture(scope="module")
def slow(slapd: Slapd) -> Iterator[Relay]:
    """The way to the slapd on which its answers can be held back."""
    with Relay(slapd) as relay:
        yield relay


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file of the log."""
    return tmp_path / "log"


@pytest.fixture
def config(slapd: Slapd, tmp_path: Path, log: Path) -> Path:
    """A configuration with time enough for an answer."""
    return configure(tmp_path, slapd, log=log)


@pytest.fixture
def hasty(slapd: Slapd, slow: Relay, tmp_path: Path, log: Path) -> Path:
    """A configuration with little time for an answer, and with the slow way."""
    return configure(tmp_path, slapd, url=slow.url, deadline=SHORT, log=log)


@pytest.fixture
def patient(slapd: Slapd, slow: Relay, tmp_path: Path, log: Path) -> Path:
    """A configuration with time enough for an answer, and with the slow way."""
    return configure(tmp_path, slapd, url=slow.url, log=log)


@pytest.fixture
def helper(config: Path, log: Path) -> Iterator[TerminalHelper]:
    """The program, ready."""
    with TerminalHelper(config, log) as helper:
        yield helper.wait_until_ready()


@pytest.fixture(scope="module")
def shared(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TerminalHelper]:
    """The program, ready; for questions that leave it as it was."""
    directory = tmp_path_factory.mktemp("shared")
    log = directory / "log"
    with TerminalHelper(configure(directory, slapd, log=log), log) as helper:
        yield helper.wait_until_ready()


@pytest.fixture
def temporary(slapd: Slapd) -> Iterator[Callable[[str, str], None]]:
    """Sets the password of a person until the test is over."""
    changed: set[str] = set()

    def set_password(uid: str, password: str) -> None:
        changed.add(uid)
        _set_password(slapd, person(uid), password)

    yield set_password
    for uid in changed:
        _set_password(slapd, person(uid), str(person(uid).password))


@pytest.fixture
def unchanged(slapd: Slapd) -> Iterator[Callable[[], bool]]:
    """Says whether the passwords that a burst is about are as they were; in the end they are."""
    people = [person("juliet"), person("romeo")]
    yield lambda: all(slapd.can_bind(who.dn, str(who.password)) for who in people)
    for who in people:
        _set_password(slapd, who, str(who.password))


def assert_answers_begin_here(helper: TerminalHelper) -> None:
    """Sees that what was typed until now is never answered, and what comes now is."""
    helper.wait_for_log("event=ready")
    assert helper.receive(1, seconds=0.3) == b""
    helper.wait_until_ready()
    assert [helper.ask(command) for command in (WRONG, RIGHT, WRONG)] == [False, True, False]
    helper.signal(signal.SIGTERM)
    assert helper.rest() == b""
    assert helper.log.count("event=check_password") == 3


def _set_password(slapd: Slapd, who: Person, password: str) -> None:
    value = ldif.line("userPassword", password)
    slapd.modify_ldif(f"{ldif.line('dn', who.dn)}changetype: modify\nreplace: userPassword\n{value}")


# The rule: one request a line, ended by \n; one answer a line.


def test_rule_line_answers_are_exactly_one_each(helper: TerminalHelper) -> None:
    """Each question is answered with one character and a line feed, without a carriage return or anything else."""
    commands = [RIGHT, WRONG, "isuser:juliet:example.com", "isuser:nobody:example.com", "nonsense", ""]
    for command, expected in zip(commands, [YES, NO, YES, NO, NO, NO], strict=True):
        helper.send(helper.wire.questions([command]))
        assert helper.receive(len(expected)) == expected
    helper.signal(signal.SIGTERM)
    assert helper.rest() == b""


def test_rule_line_in_pieces_is_answered_once(helper: TerminalHelper) -> None:
    """A question that comes a byte at a time gets its answer when its line ends."""
    for octet in helper.wire.questions([RIGHT]):
        helper.send(bytes([octet]))
    assert helper.answers(1) == [True]
    assert helper.ask(WRONG) is False


def test_rule_line_without_an_end_is_never_answered(
    hasty: Path, log: Path, temporary: Callable[[str, str], None]
) -> None:
    """What has no end gets no answer, and when its time is over it is not completed by somebody else's question."""
    temporary("nurse", "begin-auth:juliet:example.com:end")
    with TerminalHelper(hasty, log) as helper:
        helper.wait_until_ready()
        helper.send(b"auth:nurse:example.com:begin-")
        assert helper.receive(1, seconds=1.5 * SHORT) == b""
        helper.send(b"auth:juliet:example.com:end\n")
        assert helper.rest() == b""
        assert helper.status() == 0


# The rule: Prosody sends at most 1,000 bytes a query.


@pytest.mark.parametrize("size", SIZES)
def test_rule_size_of_a_line_changes_nothing(shared: TerminalHelper, size: int) -> None:
    """A question as long as Prosody can make it, or longer, gets one answer, and so does the next."""
    assert shared.ask(WRONG.ljust(size - 1, "x")) is False
    assert shared.ask(RIGHT) is True


@pytest.mark.parametrize("size", [size for size in SIZES if size < 10_000])
def test_rule_size_of_a_right_password_changes_nothing(
    shared: TerminalHelper, temporary: Callable[[str, str], None], size: int
) -> None:
    """A long password is accepted when it is the right one to the last byte."""
    question = "auth:nurse:example.com:".ljust(size - 1, "x")
    temporary("nurse", question.rpartition(":")[2])
    assert [shared.ask(command) for command in (question, f"{question[:-1]}y", question)] == [True, False, True]


@pytest.mark.parametrize("who", PEOPLE_WITH_ODD_PASSWORDS, ids=lambda who: who.uid)
def test_rule_raw_mode_odd_password_arrives_unchanged(shared: TerminalHelper, who: Person) -> None:
    """A password with colons, spaces, control characters or any Unicode is accepted, and one like it refused."""
    assert shared.ask(f"auth:{who.uid}:example.com:{who.password}") is True
    assert shared.ask(f"auth:{who.uid}:example.com:{who.password} ") is False


# The rule: standard input, output and error are the same terminal. Anything on stderr is read as an answer.


def test_rule_stderr_nothing_but_answers_is_written(slapd: Slapd, tmp_path: Path) -> None:
    """With all warnings on, a log for standard error and questions that are logged, only answers are written."""
    config = configure(tmp_path, slapd)
    with TerminalHelper(config, tmp_path / "none", environment={"PYTHONWARNINGS": "always"}) as helper:
        # Without a log nothing tells when it begins to answer.
        assert wait_until(lambda: helper.raw, PATIENCE)
        assert wait_until(helper.answers_an_empty_line, PATIENCE)
        with stopped(slapd):
            assert helper.ask(RIGHT) is False
        helper.wait_until_accepted(RIGHT)
        assert [helper.ask(command) for command in (WRONG, "setpass:x:y:z")] == [False, False]
        helper.signal(signal.SIGTERM)
        assert helper.rest() == b""
        assert helper.status() == 0


# The rule: put the terminal in raw mode before the first read.


def test_rule_raw_mode_is_on_before_anything_is_read(helper: TerminalHelper) -> None:
    """Once the program reads, the terminal passes on every byte unchanged, and echoes none."""
    assert helper.raw
    assert helper.ask("\x03\x04\x0d\x11\x13\x16\x17\x1a\x1c\x7f") is False
    assert helper.ask(RIGHT) is True


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_rule_raw_mode_control_byte_in_a_password_arrives(
    shared: TerminalHelper, temporary: Callable[[str, str], None], key: int
) -> None:
    """A byte that a terminal would eat or change is part of the password, at its start, within it and at its end."""
    character = chr(key)
    password = f"{character}before{character}{character}after{character}"
    temporary("nurse", password)
    assert shared.ask(f"auth:nurse:example.com:{password}") is True
    assert shared.ask(f"auth:nurse:example.com:{password[1:]}") is False
    assert shared.ask(f"auth:nurse:example.com:{password[:-1]}") is False
    assert shared.ask(f"auth:nurse:example.com:{password.replace(character, '')}") is False


# The rule: the first query is echoed, sometimes … throw away what was typed before and answer none of it.


@pytest.mark.parametrize("echo", [False, True], ids=["without-echo", "with-echo"])
def test_rule_echo_what_was_typed_before_the_start_is_never_answered(config: Path, log: Path, *, echo: bool) -> None:
    """A question that came before the program, echoed or not, is not answered, nor does a later one get its answer."""
    echoed = f"{RIGHT}\r\n".encode() if echo else b""
    with TerminalHelper(config, log, echo=echo, typed=f"{RIGHT}\n".encode()) as helper:
        assert helper.receive(len(echoed)) == echoed
        assert_answers_begin_here(helper)


def test_rule_echo_what_was_typed_during_the_start_is_never_answered(config: Path, log: Path, tmp_path: Path) -> None:
    """A question that came while the program read its configuration, in raw mode already, is not answered either."""
    fifo = tmp_path / "slow.toml"
    os.mkfifo(fifo)
    with TerminalHelper(fifo, log) as helper:
        assert wait_until(lambda: helper.raw, PATIENCE)
        helper.send(f"{RIGHT}\n".encode())
        fifo.write_bytes(config.read_bytes())
        assert_answers_begin_here(helper)


def test_rule_echo_half_a_question_typed_before_joins_no_later_one(config: Path, log: Path) -> None:
    """The beginning of a line that came too early is thrown away, and does not change the next question."""
    with TerminalHelper(config, log, echo=True, typed=b"setpass:romeo:example.com:") as helper:
        assert helper.receive(len(b"setpass:romeo:example.com:")) == b"setpass:romeo:example.com:"
        helper.wait_until_ready()
        assert helper.ask(RIGHT) is True


def test_rule_echo_what_is_typed_just_then_is_thrown_away_whole_or_not_at_all() -> None:
    """Of a question that comes while the terminal is emptied no piece is left, which would be taken for a question."""
    question = b"q" * 1000 + b"\n"
    left = set()
    together = threading.Barrier(2)
    master, slave = pty.openpty()
    tty.setraw(slave)
    with io.FileIO(master, "w") as typist, io.FileIO(slave, "r") as reader:

        def type_often() -> None:
            for _ in range(2000):
                together.wait()
                typist.write(question)
                together.wait()

        thread = threading.Thread(target=type_often)
        thread.start()
        for _ in range(2000):
            together.wait()
            termios.tcflush(reader, termios.TCIFLUSH)
            together.wait()
            left.add(reader.read(4096) if select.select([reader], [], [], 0)[0] else b"")
        thread.join()
    assert left <= {b"", question}


# The rule: a late answer is a login for someone else.


def test_rule_late_answer_no_goes_out_by_the_deadline(slapd: Slapd, hasty: Path, log: Path) -> None:
    """While the directory hangs the answer is no, and the questions after it get their own answers."""
    with TerminalHelper(hasty, log) as helper:
        helper.wait_until_ready()
        with hanging(slapd):
            assert helper.ask(RIGHT) is False
        assert helper.ask(WRONG) is False
        helper.wait_until_accepted(RIGHT)
        assert [helper.ask(command) for command in (WRONG, RIGHT)] == [False, True]


def test_rule_late_answer_of_a_stopped_process_never_leaves(slow: Relay, hasty: Path, log: Path) -> None:
    """A process that was stopped until after the deadline ends with status 0 instead of answering."""
    with TerminalHelper(hasty, log) as helper:
        helper.wait_until_ready()
        slow.hold()
        helper.send(f"{RIGHT}\n".encode())
        slow.wait_until_holding()
        helper.signal(signal.SIGSTOP)
        slow.release()
        time.sleep(SHORT)  # the deadline has to pass
        helper.signal(signal.SIGCONT)
        assert helper.rest() == b""
        assert helper.status() == 0


@pytest.mark.parametrize("newer", [f"{WRONG}\n", "a", "\n"], ids=["question", "one-byte", "empty-line"])
def test_rule_late_answer_newer_question_means_that_nobody_waits(
    slow: Relay, patient: Path, log: Path, newer: str
) -> None:
    """When something new has come before the answer, nobody waits for it: none leaves, and the status is 0."""
    with TerminalHelper(patient, log) as helper:
        helper.wait_until_ready()
        slow.hold()
        helper.send(f"{RIGHT}\n".encode())
        slow.wait_until_holding()
        helper.send(newer.encode())
        slow.release()
        assert helper.rest() == b""
        assert helper.status() == 0
        assert "newer question" in helper.log


# The rule: Prosody may go on at any time, and while it waits it sleeps.


def test_rule_interrupted_wait_means_that_nobody_waits(slow: Relay, patient: Path, log: Path) -> None:
    """When whoever asked has done anything but sleep since, no answer leaves, and the status is 0."""
    with TerminalHelper(patient, log, asleep=False) as helper:
        helper.wait_until_ready()
        slow.hold()
        helper.send(f"{RIGHT}\n".encode())
        for _ in range(3):
            time.sleep(0.01)
        slow.wait_until_holding()
        slow.release()
        assert helper.rest() == b""
        assert helper.status() == 0
        assert "whoever asked has not waited" in helper.log
        assert "use mod_auth_http" in helper.log


# The rule: the exit status decides whether Prosody ever starts it again.


@pytest.mark.parametrize("controlling", [True, False], ids=["with-signal", "without-signal"])
def test_rule_exit_status_0_when_the_master_side_is_closed(config: Path, log: Path, *, controlling: bool) -> None:
    """When Prosody closes the terminal the program ends, though it inherited the master side, and with status 0."""
    with TerminalHelper(config, log, controlling=controlling) as helper:
        helper.wait_until_ready().hang_up()
        assert helper.status() == 0


@pytest.mark.parametrize("controlling", [True, False], ids=["with-signal", "without-signal"])
def test_rule_exit_status_0_when_the_master_side_is_closed_under_way(
    slapd: Slapd, slow: Relay, tmp_path: Path, log: Path, *, controlling: bool
) -> None:
    """When Prosody closes the terminal while the directory is asked, that is not waited for, and the status is 0."""
    config = configure(tmp_path, slapd, url=slow.url, deadline=3 * PATIENCE, log=log)
    with TerminalHelper(config, log, controlling=controlling) as helper:
        helper.wait_until_ready()
        slow.hold()
        helper.send(f"{RIGHT}\n".encode())
        slow.wait_until_holding()
        helper.hang_up()
        assert helper.status() == 0
        slow.release()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda number: number.name)
def test_rule_exit_status_0_after_a_signal_to_end(helper: TerminalHelper, number: signal.Signals) -> None:
    """A signal to end does so with status 0, and nothing is written."""
    assert helper.ask(RIGHT) is True
    helper.signal(number)
    assert helper.status() == 0
    assert helper.rest() == b""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda number: number.name)
def test_rule_exit_status_0_after_a_signal_during_the_start(tmp_path: Path, log: Path, number: signal.Signals) -> None:
    """A signal to end that comes while the configuration is read ends it with status 0 too."""
    config = tmp_path / "slow.toml"
    os.mkfifo(config)
    with TerminalHelper(config, log) as helper, config.open("wb"):  # opened once the program reads it
        helper.signal(number)
        assert helper.status() == 0
        assert helper.rest() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTSTP, signal.SIGQUIT], ids=lambda number: number.name)
def test_rule_exit_status_keyboard_signals_do_nothing(helper: TerminalHelper, number: signal.Signals) -> None:
    """A signal that a key sends neither ends nor stops the program."""
    helper.signal(number)
    assert [helper.ask(command) for command in (RIGHT, WRONG)] == [True, False]


def test_rule_exit_status_0_with_a_broken_configuration(tmp_path: Path, log: Path) -> None:
    """A configuration that can't be used is reported nowhere on the terminal, and the status is 0."""
    config = tmp_path / "ldapauth.toml"
    config.write_text("[domains")
    with TerminalHelper(config, log) as helper:
        assert helper.rest() == b""
        assert helper.status() == 0


def test_rule_exit_status_0_without_a_log(slapd: Slapd, tmp_path: Path) -> None:
    """Where the log can't be opened the answers are the same, nothing else is written, and the status is 0."""
    log = tmp_path / "missing" / "log"
    with TerminalHelper(configure(tmp_path, slapd, log=log), log) as helper:
        assert wait_until(lambda: helper.raw, PATIENCE)
        assert wait_until(helper.answers_an_empty_line, PATIENCE)
        assert [helper.ask(command) for command in (RIGHT, WRONG)] == [True, False]
        helper.signal(signal.SIGTERM)
        assert helper.rest() == b""
        assert helper.status() == 0


@pytest.mark.parametrize("trouble", ["full-disk", "full-disk-and-rotated", "directory-gone"])
def test_rule_exit_status_0_with_a_log_that_fails(slapd: Slapd, tmp_path: Path, trouble: str) -> None:
    """When the log can't be written any more the answers are the same, nothing else is written, the status is 0."""
    log = tmp_path / "directory" / "log"
    log.parent.mkdir()
    with TerminalHelper(configure(tmp_path, slapd, log=log), log) as helper:
        helper.wait_until_ready()
        log.rename(tmp_path / "rotated")
        if trouble == "directory-gone":
            log.parent.rmdir()
        else:
            log.symlink_to("/dev/full")
        assert [helper.ask(command) for command in (RIGHT, WRONG)] == [True, False]
        if trouble == "full-disk-and-rotated":
            log.unlink()
        assert [helper.ask(command) for command in (WRONG, RIGHT, "nonsense")] == [False, True, False]
        helper.signal(signal.SIGTERM)
        assert helper.rest() == b""
        assert helper.status() == 0


# The rule: a line break in a password is an injection.


@pytest.mark.parametrize(
    "burst",
    [
        BURST,
        BURST + BURST,
        f"{RIGHT}\n\n",
        f"\n{BURST}",
        f"{RIGHT}\n{RIGHT}\n",
        f"{WRONG}\n{RIGHT}\n",
        f"{WRONG}\n{BURST}",
        f"{BURST}{RIGHT}\n",
        f"{WRONG}\r\n{RIGHT}\n",
        f"{RIGHT}\n" * 40,
    ],
    ids=[
        "two-changes",
        "four-changes",
        "empty-line-behind",
        "empty-line-before",
        "two-logins",
        "login-behind-a-login",
        "changes-behind-a-login",
        "login-behind-changes",
        "carriage-return",
        "forty-logins",
    ],
)
def test_rule_injection_burst_is_refused_as_a_whole(
    helper: TerminalHelper, unchanged: Callable[[], bool], burst: str
) -> None:
    """Several lines at once get one refusal, the directory is asked nothing, and the next question is answered."""
    helper.send(burst.encode())
    assert helper.receive(len(NO)) == NO
    assert [helper.ask(command) for command in (RIGHT, WRONG)] == [True, False]
    assert helper.log.count("several questions at once") == 1
    assert "event=set_password" not in helper.log
    assert wait_until(lambda: helper.log.count("event=check_password") == 2, PATIENCE)
    assert unchanged()


def test_rule_injection_burst_in_two_writes_is_refused_as_a_whole(
    config: Path, log: Path, unchanged: Callable[[], bool]
) -> None:
    """A line that is read alone and has another one right behind it gets one refusal together with it."""
    # With more time than 5 milliseconds, so that the second line can wait until the first one was read.
    command = patched("from ldapauth.frontends import stdio; stdio._SETTLE = 0.5")
    with TerminalHelper(config, log, command=command, keep_slave=True) as helper:
        helper.wait_until_ready()
        first, second, _ = BURST.encode().split(b"\n")
        helper.send(first + b"\n")
        assert wait_until(lambda: helper.has_read_all, PATIENCE)
        helper.send(second + b"\n")
        assert helper.receive(len(NO)) == NO
        assert [helper.ask(command) for command in (RIGHT, WRONG)] == [True, False]
        assert "event=set_password" not in helper.log
    assert unchanged()


def test_rule_injection_burst_in_two_writes_at_once_is_refused_as_a_whole(config: Path, log: Path) -> None:
    """Two lines written one right after the other get one refusal, though the first could have been read alone."""
    for _ in range(20):
        with TerminalHelper(config, log) as helper:
            helper.wait_until_ready()
            begin = time.monotonic()
            helper.send(f"{WRONG}\n".encode())
            helper.send(f"{RIGHT}\n".encode())
            if time.monotonic() - begin < 0.003:  # else somebody else had the processor, and they were not at once
                assert helper.receive(len(NO)) == NO
                assert [helper.ask(command) for command in (RIGHT, WRONG)] == [True, False]
                return
    pytest.fail("this machine was too busy, twenty times, to write twice at once")


@pytest.mark.parametrize("rest", ["setpass:romeo:example.com:pwned", "s"], ids=["command", "one-byte"])
def test_rule_injection_burst_that_has_not_ended_is_never_answered(
    helper: TerminalHelper, unchanged: Callable[[], bool], rest: str
) -> None:
    """A line with the beginning of another behind it changes nothing and ends the program, with status 0."""
    helper.send(f"setpass:juliet:example.com:x\n{rest}".encode())
    assert helper.rest() == b""
    assert helper.status() == 0
    assert "event=set_password" not in helper.log
    assert unchanged()


@pytest.mark.parametrize("character", LINE_BREAKS.values(), ids=LINE_BREAKS.keys())
def test_rule_injection_other_line_breaks_are_part_of_the_password(
    shared: TerminalHelper,
    slapd: Slapd,
    temporary: Callable[[str, str], None],
    unchanged: Callable[[], bool],
    character: str,
) -> None:
    """Whatever else is called a line break ends no line: with a command behind it, it is all one new password."""
    temporary("nurse", "nurse-secret")
    password = f"x{character}setpass:romeo:example.com:pwned{character}"
    assert shared.ask(f"setpass:nurse:example.com:{password}") is True
    assert slapd.can_bind(person("nurse").dn, password)
    assert [shared.ask(f"auth:nurse:example.com:{attempt}") for attempt in (password, password[:-1], "x")] == [
        True,
        False,
        False,
    ]
    assert unchanged()


# The rule: external_auth_command is a path without arguments.


def test_rule_command_needs_no_arguments(shared: TerminalHelper) -> None:
    """The installed program serves when it is started by its path alone."""
    command = process_info(shared.pid)
    assert command is not None
    assert command.command[-1] == shared.wire.program
    assert shared.ask(RIGHT) is True


# The rule: the helper inherits Prosody's open files.


def test_rule_inherited_files_are_closed(config: Path, log: Path) -> None:
    """Neither Prosody's sockets nor the master side of the terminal are kept open."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        TerminalHelper(config, log, pass_fds=[listener.fileno()]) as helper,
    ):
        helper.wait_until_ready()
        opened = {str(Path(f"/proc/{helper.pid}/fd/{number}").readlink()) for number in helper.descriptors()}
    # What is left besides the log: the slave side, and where standard error goes.
    assert {name.rpartition("/")[0] for name in opened - {str(log)}} == {"/dev/pts", "/dev"}
    assert "/dev/null" in opened


# The rule: lpty hands answers over as C strings, so those of ejabberd's protocol can't be read through it.


def test_rule_ejabberds_protocol_is_refused(config: Path, log: Path) -> None:
    """The protocol that can't be read through lpty writes nothing, answers nothing, and ends with status 0."""
    with TerminalHelper(config, log, wire=EJABBERD, typed=EJABBERD.questions([RIGHT])) as helper:
        assert helper.rest() == b""
        assert helper.status() == 0
        assert "can't be used on a terminal" in helper.log


# The rule: in the non-blocking mode a question that is never answered takes the process out of service.


def test_rule_non_blocking_mode_is_warned_of_at_every_start(helper: TerminalHelper) -> None:
    """Each start on a terminal logs that Prosody must be in its blocking mode, and what to use for the other one."""
    (ready,) = re.findall(r"event=ready note=(.*)", helper.log)
    assert "external_auth_blocking = true" in ready
    assert "mod_auth_http" in ready
