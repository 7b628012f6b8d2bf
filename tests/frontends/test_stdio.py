"""The installed helper programs over pipes, with a real directory behind them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.frontends.programs import (
    EJABBERD,
    GENERIC,
    PATIENCE,
    PipeHelper,
    Relay,
    Wire,
    configure,
    hanging,
    is_log,
    stopped,
)
from tests.servers.people import PEOPLE_WITH_ODD_PASSWORDS, Person, person
from tests.servers.slapd import Slapd

BOTH = pytest.mark.parametrize("wire", [GENERIC, EJABBERD], ids=lambda wire: wire.name)
RIGHT = "auth:juliet:example.com:juliet-secret"
WRONG = "auth:juliet:example.com:wrong"

# Seconds for an answer, where a test waits for them to pass.
SHORT = 1.0

ONCE = [False]
ODD_INPUT = [
    pytest.param(GENERIC, b"\n", ONCE, id="generic-empty-line"),
    pytest.param(GENERIC, bytes(range(256)) + b"\n", [False, False], id="generic-noise"),
    pytest.param(GENERIC, b"auth:juliet:example.com:\xff\xfe\n", ONCE, id="generic-not-utf8"),
    pytest.param(GENERIC, b"\xffauth:juliet:example.com:juliet-secret\n", ONCE, id="generic-noise-in-front"),
    pytest.param(GENERIC, b"login:juliet:example.com:juliet-secret\n", ONCE, id="generic-unknown-command"),
    pytest.param(GENERIC, b"AUTH:juliet:example.com:juliet-secret\n", ONCE, id="generic-upper-case-command"),
    pytest.param(GENERIC, b"auth:juliet\n", ONCE, id="generic-missing-fields"),
    pytest.param(GENERIC, RIGHT.encode() + b"\r\n", ONCE, id="generic-carriage-return"),
    pytest.param(GENERIC, RIGHT.encode().ljust(100_000, b"x") + b"\n", ONCE, id="generic-100-kB-line"),
    pytest.param(GENERIC, b"\xff" * 1_000_000 + b"\n", ONCE, id="generic-1-MB-line"),
    pytest.param(GENERIC, EJABBERD.questions([RIGHT]) + b"\n", ONCE, id="generic-gets-an-ejabberd-frame"),
    pytest.param(EJABBERD, b"\0\0", ONCE, id="ejabberd-zero-length"),
    pytest.param(EJABBERD, b"\0\0" * 100, ONCE * 100, id="ejabberd-100-zero-lengths"),
    pytest.param(EJABBERD, EJABBERD.question(bytes(range(256))), ONCE, id="ejabberd-noise"),
    pytest.param(EJABBERD, EJABBERD.question(b"auth:juliet:example.com:\xff"), ONCE, id="ejabberd-not-utf8"),
    pytest.param(EJABBERD, EJABBERD.question(b"login:juliet:example.com:x"), ONCE, id="ejabberd-unknown-command"),
    pytest.param(EJABBERD, EJABBERD.question(b"auth:juliet"), ONCE, id="ejabberd-missing-fields"),
    pytest.param(EJABBERD, EJABBERD.question(RIGHT.encode() + b"\n"), ONCE, id="ejabberd-line-break"),
    pytest.param(EJABBERD, EJABBERD.question(b"\xff" * 65_535), ONCE, id="ejabberd-longest-noise"),
    pytest.param(EJABBERD, EJABBERD.question(RIGHT.encode().ljust(65_535, b"x")), ONCE, id="ejabberd-longest"),
]  # fmt: skip

SIGNALS = [
    (EJABBERD, signal.SIGTERM),
    *((GENERIC, number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM)),
]

DOMAIN = '[domains."example.com"]\nservers = ["ldap://127.0.0.1:9"]\nbase_dn = "dc=example,dc=com"\n'
BROKEN = [
    pytest.param(None, ["No such file"], id="missing"),
    pytest.param("[domains", ["is not TOML"], id="not-toml"),
    pytest.param("\udcff", ["is not UTF-8"], id="not-utf8"),
    pytest.param("", ["domains: expected"], id="empty"),
    pytest.param(DOMAIN + "[generc]\n", ["generc: unknown key"], id="unknown-key"),
    pytest.param(DOMAIN + "[ejabberd]\ndeadline = 0\n[log]\nlevel = 1\n", ["ejabberd", "log"], id="two-mistakes"),
    pytest.param(DOMAIN + 'filter = "(uid=*)"\n', ["filter: "], id="filter-without-user"),
    pytest.param(DOMAIN + 'ca_file = "none.pem"\n', ["ca_file: "], id="no-ca-file"),
    pytest.param(DOMAIN + 'user_dn = "no dn"\n', [".user_dn: "], id="not-a-dn"),
]


@pytest.fixture(scope="module")
def slow(slapd: Slapd) -> Iterator[Relay]:
    """The way to the slapd on which its answers can be held back."""
    with Relay(slapd) as relay:
        yield relay


@pytest.fixture
def config(slapd: Slapd, tmp_path: Path) -> Path:
    """A configuration with time enough for an answer."""
    return configure(tmp_path, slapd)


@pytest.fixture
def hasty(slapd: Slapd, tmp_path: Path) -> Path:
    """A configuration with little time for an answer."""
    return configure(tmp_path, slapd, deadline=SHORT)


@pytest.fixture(scope="module")
def helpers(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Wire, PipeHelper]]:
    """Both programs, running; for questions that leave them as they were."""
    config = configure(tmp_path_factory.mktemp("helpers"), slapd)
    with PipeHelper(GENERIC, config) as generic, PipeHelper(EJABBERD, config) as ejabberd:
        yield {GENERIC: generic, EJABBERD: ejabberd}


def secret(who: Person) -> str:
    """A person's password."""
    assert who.password is not None
    return who.password


def fill(fifo: Path) -> None:
    """Writes into a FIFO until it takes no more."""
    writes = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, b"\0")
    os.close(writes)


def open_useless(kind: str) -> IO[bytes]:
    """A file that nothing can be written to."""
    if kind == "full-disk":
        return Path("/dev/full").open("wb")
    reads, writes = os.pipe()
    os.close(reads)
    return os.fdopen(writes, "wb")


@BOTH
def test_questions_waiting_in_the_pipe_are_answered_in_order(config: Path, wire: Wire) -> None:
    """Whatever waits in the pipe at the start gets its answers in its order."""
    pattern = [True, False, False, True, True, False, True]
    with PipeHelper(wire, config) as helper:
        assert helper.ask_all([RIGHT if right else WRONG for right in pattern]) == pattern


@BOTH
def test_question_in_pieces_is_one_question(helpers: dict[Wire, PipeHelper], wire: Wire) -> None:
    """A question that comes a byte at a time gets one answer."""
    for octet in wire.questions([RIGHT]):
        helpers[wire].send(bytes([octet]))
    assert helpers[wire].answers(1) == [True]
    assert helpers[wire].ask(WRONG) is False


@pytest.mark.parametrize(("wire", "data", "refused"), ODD_INPUT)
def test_odd_input_is_refused_and_the_next_question_answered(
    helpers: dict[Wire, PipeHelper], wire: Wire, data: bytes, refused: list[bool]
) -> None:
    """What is no question, and what is no right one, is refused once each, and a good question behind it accepted."""
    helpers[wire].send(data + wire.questions([RIGHT]))
    assert helpers[wire].answers(len(refused) + 1) == [*refused, True]


@BOTH
@pytest.mark.parametrize("length", [1, 2, 20], ids=lambda length: f"{length}-bytes")
def test_half_a_question_at_the_end_of_input_is_refused(config: Path, wire: Wire, length: int) -> None:
    """A question that the end of input cuts off gets a refusal, and the program ends with status 0."""
    with PipeHelper(wire, config) as helper:
        helper.send(wire.questions([RIGHT, RIGHT])[: len(wire.questions([RIGHT])) + length])
        helper.close_input()
        assert helper.rest() == wire.yes + wire.no
        assert helper.status() == 0


@BOTH
@pytest.mark.parametrize("who", PEOPLE_WITH_ODD_PASSWORDS, ids=lambda who: who.uid)
def test_password_counts_to_the_last_character(helpers: dict[Wire, PipeHelper], wire: Wire, who: Person) -> None:
    """A password is accepted exactly as it is, and not stripped, cut or with more behind it."""
    password = secret(who)
    wrong = {f"{password} ", f" {password}", f"{password}:", f"{password}\r", password[:-1], password[1:], "x"}
    wrong |= {password.strip(), password.partition(":")[0]}
    for attempt in [password, *sorted(wrong - {password})]:
        assert helpers[wire].ask(f"auth:{who.uid}:example.com:{attempt}") is (attempt == password)


@BOTH
def test_password_of_all_characters_is_set_and_accepted(
    slapd: Slapd, helpers: dict[Wire, PipeHelper], wire: Wire
) -> None:
    """A password with every character that the protocol can carry reaches the directory unchanged."""
    # No argument of slapd's tools can hold a NUL.
    password = "".join(chr(number) for number in range(1, 0x250)) + "\ufeff\uffff\U0010ffff"
    if wire is GENERIC:
        password = password.replace("\n", "")
    who = person("nurse")
    assert helpers[wire].ask(f"setpass:nurse:example.com:{password}") is True
    try:
        assert slapd.can_bind(who.dn, password)
        assert helpers[wire].ask(f"auth:nurse:example.com:{password}") is True
        assert helpers[wire].ask(f"auth:nurse:example.com:{password[:-1]}") is False
    finally:
        assert helpers[wire].ask(f"setpass:nurse:example.com:{secret(who)}") is True


@BOTH
def test_stopped_directory_is_refused_until_it_is_back(slapd: Slapd, config: Path, wire: Wire) -> None:
    """While the directory is down every question is refused, and once it is back the same process answers right."""
    with PipeHelper(wire, config) as helper:
        assert helper.ask_all([RIGHT, WRONG]) == [True, False]
        with stopped(slapd):
            assert helper.ask_all([RIGHT, "isuser:juliet:example.com", RIGHT]) == [False] * 3
            helper.wait_for_log("verdict=unavailable", 3)
        helper.wait_until_accepted(RIGHT)
        assert helper.ask_all([RIGHT, WRONG]) == [True, False]


@BOTH
def test_directory_that_never_answers_is_refused_by_the_deadline(slapd: Slapd, hasty: Path, wire: Wire) -> None:
    """A directory that accepts connections and says nothing makes a refusal, and no wrong one later."""
    with PipeHelper(wire, hasty) as helper:
        with hanging(slapd):
            assert helper.ask(RIGHT) is False
            helper.wait_for_log("verdict=unavailable")
        assert helper.ask(WRONG) is False
        helper.wait_until_accepted(RIGHT)
        assert helper.ask_all([WRONG, RIGHT]) == [False, True]


@BOTH
def test_answer_of_a_process_that_was_stopped_too_long_never_leaves(
    slow: Relay, slapd: Slapd, tmp_path: Path, wire: Wire
) -> None:
    """A process that wakes after the deadline of its question leaves with status 0 instead of answering."""
    with PipeHelper(wire, configure(tmp_path, slapd, url=slow.url, deadline=SHORT)) as helper:
        slow.hold()
        helper.send(wire.questions([RIGHT]))
        slow.wait_until_holding()
        helper.signal(signal.SIGSTOP)
        slow.release()
        time.sleep(SHORT)  # the deadline has to pass
        helper.signal(signal.SIGCONT)
        assert helper.rest() == b""
        assert helper.status() == 0
        assert "late" in helper.stderr


@BOTH
def test_helper_that_waits_for_the_directory_ends_when_nobody_reads(slapd: Slapd, tmp_path: Path, wire: Wire) -> None:
    """A client that goes away while the directory is asked is not waited for until the deadline."""
    config = configure(tmp_path, slapd, deadline=3 * PATIENCE)
    with PipeHelper(wire, config) as helper, hanging(slapd):
        helper.send(wire.questions([RIGHT]))
        helper.hang_up()
        assert helper.status() == 0
        assert is_log(helper.stderr)


@pytest.mark.parametrize(("text", "problems"), BROKEN)
def test_broken_configuration_is_a_line_each_and_status_0(
    tmp_path: Path, text: str | None, problems: list[str]
) -> None:
    """Each mistake in the configuration is one line on standard error, nothing is answered, and the status is 0."""
    config = tmp_path / "ldapauth.toml"
    if text is not None:
        config.write_text(text, errors="surrogateescape")
    with PipeHelper(GENERIC, config) as helper:
        assert helper.rest() == b""
        assert helper.status() == 0
        errors = re.findall(r" ERROR event=configuration problem=(.*)", helper.stderr)
        assert is_log(helper.stderr)
        assert len(errors) == len(problems), errors
        assert all(problem in error for problem, error in zip(problems, errors, strict=True))


def test_broken_configuration_is_status_0_for_ejabberd_too(tmp_path: Path) -> None:
    """The program for ejabberd reports a mistake in the same way."""
    with PipeHelper(EJABBERD, tmp_path / "none.toml") as helper:
        assert helper.rest() == b""
        assert helper.status() == 0
        assert is_log(helper.stderr)
        assert helper.stderr.count("event=configuration") == 1


@pytest.mark.parametrize(("wire", "number"), SIGNALS, ids=lambda value: value.name)
def test_signal_ends_it_with_status_0(config: Path, wire: Wire, number: signal.Signals) -> None:
    """A signal that would end any process does so with status 0, and nothing is answered."""
    with PipeHelper(wire, config) as helper:
        helper.wait_for_log("event=ready")
        helper.signal(number)
        assert helper.status() == 0
        assert helper.rest() == b""


@BOTH
def test_signal_while_the_directory_is_asked_ends_it_without_an_answer(
    slow: Relay, slapd: Slapd, tmp_path: Path, wire: Wire
) -> None:
    """A signal to end is not put off by a question under way, which gets no answer."""
    with PipeHelper(wire, configure(tmp_path, slapd, url=slow.url)) as helper:
        slow.hold()
        helper.send(wire.questions([RIGHT]))
        slow.wait_until_holding()
        helper.signal(signal.SIGTERM)
        assert helper.status() == 0
        slow.release()
        assert helper.rest() == b""


@BOTH
def test_closed_output_ends_it_with_status_0(config: Path, wire: Wire) -> None:
    """When nobody reads the answers any more, it ends with status 0 and says so only in its log."""
    with PipeHelper(wire, config) as helper:
        assert helper.ask(RIGHT) is True
        helper.close_output()
        assert helper.status() == 0
        assert is_log(helper.stderr)
        assert "event=leaving" in helper.stderr


@BOTH
def test_end_of_input_ends_it_with_status_0(config: Path, wire: Wire) -> None:
    """At the end of input every question has its answer, and the status is 0."""
    with PipeHelper(wire, config) as helper:
        helper.send(wire.questions([RIGHT, WRONG]))
        helper.close_input()
        assert helper.rest() == wire.yes + wire.no
        assert helper.status() == 0
        assert is_log(helper.stderr)


@BOTH
@pytest.mark.parametrize("useless", ["full-disk", "nobody-reads"])
def test_standard_error_that_takes_nothing_changes_nothing(config: Path, wire: Wire, useless: str) -> None:
    """Where the log can't be written the answers are the same, and the status is 0."""
    with open_useless(useless) as stderr, PipeHelper(wire, config, stderr=stderr) as helper:
        assert helper.ask_all([RIGHT, WRONG]) == [True, False]
        helper.close_input()
        assert helper.status() == 0


@BOTH
@pytest.mark.parametrize("useless", ["full-disk", "no-directory", "directory"])
def test_log_file_that_takes_nothing_changes_nothing(slapd: Slapd, tmp_path: Path, wire: Wire, useless: str) -> None:
    """Where the log file can't be written the answers are the same, standard error is empty, and the status is 0."""
    log = {"full-disk": tmp_path / "log", "no-directory": tmp_path / "missing" / "log", "directory": tmp_path}[useless]
    if useless == "full-disk":
        log.symlink_to("/dev/full")
    with PipeHelper(wire, configure(tmp_path, slapd, log=log)) as helper:
        assert helper.ask_all([RIGHT, WRONG]) == [True, False]
        helper.close_input()
        assert helper.status() == 0
        assert helper.stderr == ""


@BOTH
@pytest.mark.parametrize("ending", ["hang-up", "signal"])
def test_log_that_hangs_keeps_no_helper(slapd: Slapd, tmp_path: Path, wire: Wire, ending: str) -> None:
    """A helper whose log takes no more and does not fail either, as on a dead network disk, ends when it is to."""
    log = tmp_path / "log"
    os.mkfifo(log)
    reads = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with PipeHelper(wire, configure(tmp_path, slapd, log=log)) as helper:
            assert helper.ask(RIGHT) is True
            fill(log)
            assert helper.ask(RIGHT) is True  # the line about it comes after the answer
            helper.send(wire.questions([RIGHT]))
            assert helper.receive(1, seconds=0.5) == b""
            helper.hang_up() if ending == "hang-up" else helper.signal(signal.SIGTERM)
            assert helper.status() == 0
    finally:
        os.close(reads)


@BOTH
def test_answers_go_nowhere_else_without_standard_output(slapd: Slapd, tmp_path: Path, wire: Wire) -> None:
    """Where standard output is closed from the start, no answer goes into a file or connection opened in its place."""
    log = tmp_path / "log"
    config = configure(tmp_path, slapd, log=log)
    with PipeHelper(wire, config, command=["sh", "-c", 'exec "$0" >&-', wire.program]) as helper:
        helper.send(wire.questions([RIGHT, WRONG]))
        helper.close_input()
        assert helper.status() == 0
        assert is_log(log.read_text())


@BOTH
def test_option_config_comes_before_the_environment(config: Path, tmp_path: Path, wire: Wire) -> None:
    """The file that --config names is used, whatever the environment says."""
    command = [wire.program, "--config", str(config)]
    with PipeHelper(wire, tmp_path / "none.toml", command=command) as helper:
        assert helper.ask_all([RIGHT, WRONG]) == [True, False]


@BOTH
@pytest.mark.parametrize("start", [["-m", "ldapauth"], ["cli.py"]], ids=["module", "script"])
def test_other_ways_to_start_are_the_same(config: Path, wire: Wire, start: list[str]) -> None:
    """The command's subcommand of the protocol's name is the same program."""
    root = Path(__file__).parents[2]
    where = [str(root / part) if part.endswith(".py") else part for part in start]
    with PipeHelper(wire, config, command=[sys.executable, *where, wire.name]) as helper:
        assert helper.ask_all([RIGHT, WRONG]) == [True, False]
        helper.close_input()
        assert helper.status() == 0


@BOTH
@pytest.mark.parametrize(
    "arguments",
    [["--config"], ["--help"], ["ldapauth.toml"], ["--config", "a", "b"], [""]],
    ids=["no-file", "help", "file-alone", "too-many", "empty"],
)
def test_wrong_arguments_show_the_usage(wire: Wire, arguments: list[str]) -> None:
    """Arguments that are not understood make one line of usage, and nothing on standard output."""
    done = subprocess.run([wire.program, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stdout == ""
    assert re.fullmatch(rf"usage: ldapauth-{wire.name} .*--config FILE.*\n", done.stderr)


@BOTH
def test_inherited_descriptors_are_closed(config: Path, wire: Wire) -> None:
    """What the server had open, such as its listening sockets, is let go."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A high number too: servers have many.
        high = os.dup2(listener.fileno(), 900)
        try:
            with PipeHelper(wire, config, pass_fds=(listener.fileno(), high)) as helper:
                helper.wait_for_log("event=ready")
                assert helper.descriptors() == {0, 1, 2}
        finally:
            os.close(high)


@BOTH
def test_no_warning_reaches_standard_error(config: Path, wire: Wire) -> None:
    """With every warning of Python's switched on, standard error has lines of the log and nothing else."""
    commands = [RIGHT, WRONG, "setpass:romeo:example.com:romeo-secret", "removeuser:nobody:example.com"]
    with PipeHelper(wire, config, environment={"PYTHONWARNINGS": "always"}) as helper:
        assert helper.ask_all(commands) == [True, False, True, False]
        helper.close_input()
        assert helper.status() == 0
        assert is_log(helper.stderr)
        assert helper.stderr


@BOTH
def test_no_secret_reaches_the_log(config: Path, wire: Wire) -> None:
    """Neither a right nor a wrong password nor the service account's is logged, and no command that is malformed."""
    commands: list[str | bytes] = [
        "auth:juliet:example.com:hunter2",
        RIGHT,
        "setpass:juliet:hunter2",
        "hunter2",
        b"auth:hunter2\xff:a:b",
    ]
    with PipeHelper(wire, config) as helper:
        assert helper.ask_all(commands) == [False, True, False, False, False]
        helper.close_input()
        assert helper.status() == 0
        for word in ("hunter2", "juliet-secret", Slapd.service_password):
            assert word not in helper.stderr
