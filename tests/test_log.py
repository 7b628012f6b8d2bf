"""The log: nothing that a stranger sends can forge a field, a line or a command to a terminal."""

import json
import logging
import re
import socket
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from ldapauth import log
from ldapauth.config import Log, Secret

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For whatever runs on a busy machine: that it takes long is no failure."""

LOGGER = logging.getLogger("ldapauth.test")
MARKER = "s3cr3t-marker"

HOSTILE = {
    "line break": "juliet\nevent=check_password verdict=accepted",
    "carriage return": "juliet\r2026-01-01 INFO event=forged",
    "quote": 'juliet" verdict="accepted',
    "only a quote": '"',
    "backslash": 'juliet\\" verdict="accepted',
    "trailing backslash": "juliet\\",
    "equals sign": "verdict=accepted",
    "space": "juliet verdict",
    "outer spaces": " juliet ",
    "tab": "juliet\tcapulet",
    "NUL": "juliet\0",
    "terminal: colour": "\x1b[31mjuliet\x1b[0m",
    "terminal: title": "\x1b]0;juliet\x07",
    "terminal: C1 escape": "\x9b2Jjuliet",
    "next line": "juliet\x85verdict=accepted",
    "line separator": "juliet\u2028verdict=accepted",
    "delete": "juliet\x7f\x7f",
    "right to left": "juliet\u202etpecca",
    "accents": "юлия",
    "beyond the BMP": "\U0001f339",
    "lone surrogate": "juliet\udcff",
    "percent": "%s %(levelname)s %n",
    "braces": "{user}",
    "escaped already": "\\u000a",
}
CONTROL_CHARACTERS = {f"U+{code:04X}": chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))}

_FIELD = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=\\]+)(?: |$)')


def parse(line: str) -> dict[str, str]:
    """The fields of a line in logfmt; a line that is anything else is a failure."""
    fields: dict[str, str] = {}
    position = 0
    while position < len(line):
        match = _FIELD.match(line, position)
        assert match, f"not logfmt: {line!r}"
        name, value = match.groups()
        assert name not in fields
        fields[name] = json.loads(value) if value.startswith('"') else value
        position = match.end()
    return fields


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A log file, to which the log goes."""
    path = tmp_path / "ldapauth.log"
    assert log.configure(Log(target=str(path))) == str(path)
    return path


def logged(file: Path) -> list[dict[str, str]]:
    """The fields of each line of a log file, which is seen to be plain ASCII."""
    text = file.read_bytes().decode("ascii")
    assert all(character.isprintable() for character in text.replace("\n", ""))
    return [parse(re.sub(r"^\S+ \S+ [A-Z]+ ", "", line)) for line in text.removesuffix("\n").split("\n")]


@pytest.mark.parametrize(
    "value", [*HOSTILE.values(), *CONTROL_CHARACTERS.values()], ids=[*HOSTILE, *CONTROL_CHARACTERS]
)
def test_hostile_values_come_back_as_they_were(file: Path, value: str) -> None:
    """A hostile name stays one field of one line of printable ASCII, from which it can be read as it was."""
    log.event(LOGGER, logging.INFO, "check_password", user=value, verdict="refused", reason=value)
    assert logged(file) == [{"event": "check_password", "user": value, "verdict": "refused", "reason": value}]


@UNTIMED
@given(st.lists(st.text(st.characters(exclude_categories=()), min_size=1), min_size=1, max_size=4))
def test_any_values_come_back_as_they_were(values: list[str]) -> None:
    """Any values side by side are told apart again, and make one line of printable ASCII."""
    fields = dict(zip("abcd", values, strict=False))
    line = log.logfmt("login", fields)
    assert line.isascii()
    assert line.isprintable()
    assert parse(line) == {"event": "login", **fields}


@pytest.mark.parametrize(
    "value", ["juliet", "example.com", "1.5", "no-such-user", "ldaps://[::1]:636", "{user}", "100%"]
)
def test_plain_values_are_not_quoted(value: str) -> None:
    """A value that can't be misread stands as it is."""
    assert log.logfmt("login", {"user": value}) == f"event=login user={value}"


@pytest.fixture
def json_file(tmp_path: Path) -> Path:
    """A log file, to which the log goes as JSON objects."""
    path = tmp_path / "ldapauth.json"
    log.configure(Log(target=str(path), format="json"))
    return path


def objects(file: Path) -> list[dict[str, str]]:
    """The objects of a log file, one a line, which is seen to be plain ASCII; without their times."""
    text = file.read_bytes().decode("ascii")
    assert all(character.isprintable() for character in text.replace("\n", ""))
    found = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    for line in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}", line.pop("time"))
    return found


@pytest.mark.parametrize(
    "value", [*HOSTILE.values(), *CONTROL_CHARACTERS.values()], ids=[*HOSTILE, *CONTROL_CHARACTERS]
)
def test_hostile_values_come_back_as_they_were_in_json(json_file: Path, value: str) -> None:
    """As JSON too a hostile name stays one value of one line of printable ASCII, from which it can be read."""
    log.event(LOGGER, logging.INFO, "check_password", user=value, verdict="refused", reason="")
    line = {"user": value, "verdict": "refused", "level": "INFO", "event": "check_password"}
    assert objects(json_file) == [line]


def test_numbers_are_numbers_in_json(json_file: Path) -> None:
    """What can be reckoned with is a number in JSON, and a user whose name looks like one stays text."""
    log.event(LOGGER, logging.WARNING, "check_password", user="12", ms="1.5", questions="3")
    (line,) = objects(json_file)
    assert line == {"user": "12", "ms": 1.5, "questions": 3, "level": "WARNING", "event": "check_password"}


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_held_line_is_like_any_other(tmp_path: Path, style: Literal["logfmt", "json"]) -> None:
    """What waits for an answer to leave is written in the same format, with the time at which it happened."""
    target = tmp_path / "held.log"
    log.configure(Log(target=str(target), format=style))
    with log.held:
        log.event(LOGGER, logging.INFO, "check_password", user="a\nb")
        assert target.read_text() == ""
    log.event(LOGGER, logging.INFO, "check_password", user="a\nb")
    first, second = (objects if style == "json" else logged)(target)
    assert first == second


def test_a_file_is_written_on_in_another_format(tmp_path: Path) -> None:
    """A configuration that is read again changes the format, and the file stays open for whoever writes to it."""
    target = tmp_path / "ldapauth.log"
    log.configure(Log(target=str(target)))
    log.event(LOGGER, logging.INFO, "before")
    (before,) = logging.getLogger(log.ROOT).handlers
    log.configure(Log(target=str(target), format="json"))
    log.event(LOGGER, logging.INFO, "after")
    assert logging.getLogger(log.ROOT).handlers == [before]
    first, second = target.read_text().splitlines()
    assert first.endswith(" INFO event=before")
    assert json.loads(second)["event"] == "after"


KEY = Secret("0123456789abcdef")


def hidden(directory: Path, *users: str, key: Secret | None = KEY, domain: str = "example.com") -> list[str]:
    """What stands for each of these users in a log that shows no names, after a configuration of its own."""
    target = directory / "hidden.log"
    target.unlink(missing_ok=True)
    log.configure(Log(target=str(target), users="hash", users_key=key))
    for user in users:
        log.event(LOGGER, logging.INFO, "check_password", domain=domain, user=user)
    return [fields["user"] for fields in logged(target)]


def test_names_can_be_hidden(tmp_path: Path) -> None:
    """With a key a user has the same hash in every process, in any case, and no two users or domains have the same."""
    names = ["juliet", "romeo", "Juliet", *HOSTILE.values()]
    shown = hidden(tmp_path, *names)
    assert shown == hidden(tmp_path, *names)
    assert shown[0] == shown[2]
    assert len(set(shown)) == len(names) - 1
    assert all(re.fullmatch(r"[0-9a-f]{16}", text) for text in shown)
    assert hidden(tmp_path, "juliet", domain="example.org") != shown[:1]
    assert hidden(tmp_path, "juliet", key=Secret("fedcba9876543210")) != shown[:1]


def test_a_hidden_name_is_another_one_tomorrow(tmp_path: Path, mocker: MockerFixture) -> None:
    """Nobody can be followed from day to day."""
    today = hidden(tmp_path, "juliet")
    mocker.patch("ldapauth.log.time.time", return_value=time.time() + 86_400)
    assert hidden(tmp_path, "juliet") != today


def test_names_are_hidden_without_a_key_too(tmp_path: Path) -> None:
    """Without a key a process makes one up, so that a hash says nothing to anybody else."""
    first = hidden(tmp_path, "juliet", "juliet", key=None)
    assert first[0] == first[1]
    assert hidden(tmp_path, "juliet", key=None) != first[:1]


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_hidden_name_shows_nowhere_in_the_line(tmp_path: Path, style: Literal["logfmt", "json"]) -> None:
    """Where a server may quote the name, in whatever spelling, nothing of it is said; what we say ourselves is."""
    target = tmp_path / "hidden.log"
    log.configure(Log(target=str(target), users="hash", format=style))
    quoting = log.Quoting(r"no such (uid=d\27artagnan), d\\27artagnan, d'artagnan")
    log.event(LOGGER, logging.INFO, "user_exists", user=r"d\27artagnan", detail=quoting, reason="outage")
    log.event(LOGGER, logging.WARNING, "outage", domain="example.com", error=quoting)
    with log.held:
        log.event(LOGGER, logging.INFO, "user_exists", user="e", detail="refused everywhere")
    assert "artagnan" not in target.read_text()
    assert target.read_text().count("refused everywhere") == 1
    log.configure(Log(target=str(target), format=style))
    log.event(LOGGER, logging.WARNING, "outage", domain="example.com", error=quoting)
    assert "artagnan" in target.read_text()


def test_empty_fields_are_left_out(file: Path) -> None:
    """A field without a value is not in the line."""
    log.event(LOGGER, logging.INFO, "user_exists", user="juliet", reason="")
    assert logged(file) == [{"event": "user_exists", "user": "juliet"}]


def test_lines_follow_one_another(file: Path) -> None:
    """Each event is a line of its own, in order."""
    for user in HOSTILE.values():
        log.event(LOGGER, logging.INFO, "user_exists", user=user)
    assert [fields["user"] for fields in logged(file)] == list(HOSTILE.values())


def test_a_line_says_when_and_how_grave(file: Path) -> None:
    """A line begins with the date, the time and the level."""
    log.event(LOGGER, logging.WARNING, "server-failed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING event=server-failed\n", file.read_text())


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_what_is_grave_enough_is_logged(tmp_path: Path, level: str, expected: list[str]) -> None:
    """Events below the configured level are left out."""
    target = tmp_path / "ldapauth.log"
    log.configure(Log(target=str(target), level=level))  # type: ignore[arg-type] # one of the four
    for name in ("debug", "info", "warning", "error"):
        log.event(LOGGER, logging.getLevelNamesMapping()[name.upper()], name)
    assert [fields["event"] for fields in logged(target)] == expected


def test_an_event_that_comes_just_when_others_are_written_is_not_lost(file: Path) -> None:
    """What a thread logs just when another one's answer has left is written, though the others were already."""

    class Waiting(list[Any]):
        def append(self, event: Any) -> None:
            log.held.__exit__()  # as the other thread does, when this one has seen that events wait
            super().append(event)

    with log.held:
        log.held.waiting = Waiting()
        log.event(LOGGER, logging.INFO, "server-failed")
    assert logged(file) == [{"event": "server-failed"}]


def a_second_passes(mocker: MockerFixture) -> None:
    """Puts the clock forward, for it is looked once in a second whether a file was moved away."""
    mocker.patch("time.time", return_value=time.time() + 1)


def test_a_file_that_was_moved_away_is_made_again(file: Path, mocker: MockerFixture) -> None:
    """A second after a rotation the log goes on in a new file of the old name."""
    log.event(LOGGER, logging.INFO, "before")
    moved = file.rename(file.with_suffix(".1"))
    a_second_passes(mocker)
    log.event(LOGGER, logging.INFO, "after")
    assert logged(moved) == [{"event": "before"}]
    assert logged(file) == [{"event": "after"}]


def test_a_file_that_was_moved_away_is_made_again_at_a_reload(file: Path) -> None:
    """When the configuration is read again the log goes on in a new file at once."""
    log.event(LOGGER, logging.INFO, "before")
    moved = file.rename(file.with_suffix(".1"))
    log.configure(Log(target=str(file)))
    log.event(LOGGER, logging.INFO, "after")
    assert logged(moved) == [{"event": "before"}]
    assert logged(file) == [{"event": "after"}]


def test_a_directory_that_has_gone_costs_no_login(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """While the file has no directory events raise nothing and are lost, and once it is back there is a file."""
    file = tmp_path / "log" / "ldapauth.log"
    file.parent.mkdir()
    log.configure(Log(target=str(file)))
    moved = file.parent.rename(tmp_path / "moved")
    for name in ("first", "second"):
        log.event(LOGGER, logging.INFO, name)
    file.parent.mkdir()
    log.event(LOGGER, logging.INFO, "back")
    log.event(LOGGER, logging.INFO, "again")
    assert logged(file) == [{"event": "back"}, {"event": "again"}]
    assert (moved / file.name).read_text() == ""
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_full_disk_costs_no_login(tmp_path: Path, capfd: pytest.CaptureFixture[str], mocker: MockerFixture) -> None:
    """On a full disk events raise nothing, not even after the file was moved away with lines that are not written."""
    file = tmp_path / "ldapauth.log"
    file.symlink_to("/dev/full")
    log.configure(Log(target=str(file)))
    log.event(LOGGER, logging.INFO, "before")
    file.unlink()
    a_second_passes(mocker)
    for name in ("first", "second"):
        log.event(LOGGER, logging.INFO, name)
    logging.getLogger(log.ROOT).handlers[0].close()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """With the target stderr the lines go to standard error and none to standard output."""
    assert log.configure(Log(target="stderr")) == "stderr"
    log.event(LOGGER, logging.INFO, "ready")
    captured = capfd.readouterr()
    assert captured.err.endswith(" INFO event=ready\n")
    assert captured.out == ""


@pytest.mark.parametrize(
    ("target", "stderr"), [("syslog", True), ("stderr", False)], ids=["asked for", "in place of stderr"]
)
def test_syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, *, stderr: bool) -> None:
    """The lines go to syslog where it is asked for, and where standard error is a terminal that reads answers."""
    address = tmp_path / "syslog"
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(address))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(address))
        assert log.configure(Log(target=target), stderr=stderr) == "syslog"
        log.event(LOGGER, logging.INFO, "ready", user="a\nb")
        assert re.fullmatch(rb'<38>ldapauth\[\d+\]: INFO event=ready user="a\\nb"\0?', daemon.recv(4096))
        log.configure(Log(target=target, format="json"), stderr=stderr)
        log.event(LOGGER, logging.INFO, "ready", user="a\nb")
        found = re.fullmatch(rb"<38>ldapauth\[\d+\]: ({.*})\0?", daemon.recv(4096))
        assert found
        assert json.loads(found[1])["user"] == "a\nb"


def test_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """With the target none nothing is written anywhere."""
    assert log.configure(Log(target="none")) == "nowhere"
    log.event(LOGGER, logging.ERROR, "bug")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


UNOPENABLE = {
    "a missing directory": "{directory}/missing/ldapauth.log",
    "a directory": "{directory}",
    "a file in a file": "{directory}/file/ldapauth.log",
    "a name that is too long": "{directory}/" + "x" * 300,
    "a name with a NUL": "{directory}/ldapauth\0.log",
}


@pytest.mark.parametrize("target", UNOPENABLE.values(), ids=UNOPENABLE)
def test_what_can_not_be_opened_costs_no_login(tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    """A target that can't be opened is replaced by nothing, which the place in words says, and no event raises."""
    (tmp_path / "file").touch()
    target = target.format(directory=tmp_path)
    assert log.configure(Log(target=target)) == f"nowhere ({target} can't be opened)"
    log.event(LOGGER, logging.ERROR, "bug")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_syslog_that_is_away_costs_no_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a syslog daemon events raise nothing and are lost, and once there is one it gets them."""
    address = tmp_path / "syslog"
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(address))
    log.configure(Log(target="syslog"))
    log.event(LOGGER, logging.ERROR, "before")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(address))
        log.event(LOGGER, logging.ERROR, "after")
        assert b"event=after" in daemon.recv(4096)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_target_replaces_the_one_before(tmp_path: Path, file: Path) -> None:
    """After a second configuration nothing more goes where the first one sent it."""
    first, second = logging.getLogger(log.ROOT).handlers[0], tmp_path / "second.log"
    log.configure(Log(target=str(second)))
    first.close()
    log.event(LOGGER, logging.INFO, "ready")
    assert file.read_text() == ""
    assert logged(second) == [{"event": "ready"}]


def raised(*, cause: bool = False) -> BaseException:
    """An exception that was really raised, and whose text, notes and cause hold the marker."""
    with pytest.raises(KeyError) as inner:
        raise KeyError(MARKER)
    inner.value.add_note(MARKER)
    with pytest.raises(ValueError, match=MARKER) as outer:
        raise ValueError(f"password {MARKER}") from (inner.value if cause else None)
    outer.value.add_note(MARKER)
    return outer.value


@pytest.mark.parametrize("cause", [False, True], ids=["alone", "with a cause"])
def test_a_bug_is_logged_without_its_text(file: Path, *, cause: bool) -> None:
    """An unexpected exception is logged with its class and where it was raised, and never with its text."""
    log.bug(LOGGER, raised(cause=cause))
    text = file.read_text()
    assert MARKER not in text
    assert " ERROR event=bug error=ValueError " in text
    assert re.search(rf"{re.escape(Path(__file__).name)}:\d+", logged(file)[0]["where"])


def test_a_bug_that_was_never_raised_is_logged_all_the_same(file: Path) -> None:
    """An exception without a traceback is logged by its class alone."""
    log.bug(LOGGER, RuntimeError(MARKER))
    assert logged(file) == [{"event": "bug", "error": "RuntimeError"}]
