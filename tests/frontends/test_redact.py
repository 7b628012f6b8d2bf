"""Redaction: what is left of a log record of the server that runs the app."""

import io
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ldapauth.frontends.redact import strip_queries

SECRET = "juliet-secret"
TARGET = f"/check_password?user=juliet&server=example.com&pass={SECRET}"
LOGGERS = ["gunicorn.error", "gunicorn.access", "werkzeug", "waitress"]


class Unprintable:
    """What raises an exception of no expected kind when it is turned into a text."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)


class Log:
    """A logger of a server, and what it writes.

    Attributes:
        logger: The logger.
    """

    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)
        self._before = (self.logger.handlers[:], self.logger.filters[:], self.logger.level, self.logger.propagate)
        self._stream = io.StringIO()
        self.logger.handlers[:] = [logging.StreamHandler(self._stream)]
        self.logger.filters[:] = []
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False

    @property
    def text(self) -> str:
        """What was written."""
        return self._stream.getvalue()

    def restore(self) -> None:
        """Leaves the logger as it was."""
        self.logger.handlers[:], self.logger.filters[:], level, self.logger.propagate = self._before
        self.logger.setLevel(level)


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """The log of gunicorn's errors, or the one that a test names, redacted."""
    made = Log(getattr(request, "param", "gunicorn.error"))
    strip_queries()
    yield made
    made.restore()


@pytest.mark.parametrize("log", LOGGERS, indirect=True)
def test_servers(log: Log) -> None:
    """The query is left out of the log of each server that may run the app, and the rest of the line stays."""
    log.logger.info("GET %s HTTP/1.1 200", TARGET)
    assert log.text == "GET /check_password?… HTTP/1.1 200\n"


@pytest.mark.parametrize("log", ["ldapauth"], indirect=True)
def test_other_loggers(log: Log) -> None:
    """Other logs are left alone."""
    log.logger.info("what?now")
    assert log.text == "what?now\n"


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        pytest.param("Error handling request %s %s", ("GET", TARGET), "GET /check_password?…", id="positional"),
        pytest.param('"%(m)s %(r)s" %(s)s', ({"m": "GET", "r": TARGET, "s": 200},), "GET /check_password?…", id="dict"),
        pytest.param("%s?pass=%s HTTP/1.1", ("/check_password", SECRET), "/check_password?…", id="query in the format"),
        pytest.param("%r", (TARGET.encode(),), "b'/check_password?…", id="bytes"),
        pytest.param("%s", (ValueError(f"Invalid request line: {TARGET!r}"),), "/check_password?…", id="exception"),
        pytest.param(f"100% of {TARGET}", (), "100% of /check_password?…", id="no arguments"),
        pytest.param("%s and %s", (TARGET, TARGET), "/check_password?… and /check_password?…", id="two"),
        pytest.param("%s", (f"{TARGET}?again={SECRET}",), "/check_password?…", id="two question marks"),
        pytest.param("%s HTTP/1.1", (f"{TARGET}%20{SECRET}",), "/check_password?… HTTP/1.1", id="encoded space"),
    ],
)
def test_arguments(log: Log, message: str, arguments: tuple[Any, ...], expected: str) -> None:
    """A query is left out wherever in a record it is: in the message, in an argument, or made of both."""
    log.logger.warning(message, *arguments)
    assert expected in log.text
    assert SECRET not in log.text
    assert "pass=" not in log.text


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        pytest.param("%s %s", (TARGET,), id="too few"),
        pytest.param("%s", (TARGET, TARGET), id="too many"),
        pytest.param("%d", (TARGET,), id="wrong kind"),
        pytest.param("%(r)s", ({"s": TARGET},), id="missing key"),
        pytest.param("%y", (TARGET,), id="unknown conversion"),
        pytest.param(f"%c {TARGET}", (0x110000,), id="out of range"),
        pytest.param(f"%s {TARGET}", (Unprintable(),), id="unprintable"),
    ],
)
def test_broken_format(log: Log, message: str, arguments: tuple[Any, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A record that can't be formatted becomes a line that says so, and neither raises nor prints anything."""
    log.logger.error(message, *arguments)
    assert log.text == "(a line that could not be formatted)\n"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("chained", [False, True], ids=["plain", "chained"])
def test_exception(log: Log, chained: bool) -> None:  # noqa: FBT001 - a parameter
    """A traceback is kept, without the queries in the texts of its exceptions."""
    try:
        _fail(chained=chained)
    except RuntimeError:
        log.logger.exception("Error handling request %s", TARGET)
    assert log.text.startswith("Error handling request /check_password?…\n")
    assert "Traceback (most recent call last):" in log.text
    assert "RuntimeError: asked for /check_password?…" in log.text
    assert ("ValueError: no /check_password?…" in log.text) is chained
    assert SECRET not in log.text


@pytest.mark.parametrize("again", [1, 3], ids=["once", "thrice"])
def test_repeated(log: Log, again: int) -> None:
    """Asking for redaction again changes nothing."""
    for _ in range(again):
        strip_queries()
    log.logger.info("%s", TARGET)
    assert log.text == "/check_password?…\n"
    assert len(log.logger.filters) == 1


def test_level(log: Log) -> None:
    """A record that is not wanted at the logger's level is not written for having been redacted."""
    log.logger.setLevel(logging.INFO)
    log.logger.debug("%s", TARGET)
    assert log.text == ""


def test_atoms(log: Log) -> None:
    """A dict that has an answer for every name, as gunicorn hands one over for its access log, is used as it is."""

    class Atoms(dict[str, str]):
        def __missing__(self, name: str) -> str:
            return "-"

    atoms: Mapping[str, str] = Atoms(r=TARGET, q=SECRET)
    log.logger.info("%(h)s %(r)s", atoms)
    assert log.text == "- /check_password?…\n"


def _fail(*, chained: bool) -> None:
    raise RuntimeError(f"asked for {TARGET}") from (ValueError(f"no {TARGET}") if chained else None)


@pytest.mark.parametrize("log", ["gunicorn.access"], indirect=True)
def test_one_line(log: Log) -> None:
    """What a client makes up, such as a path with an encoded line break, can't forge a line of an access log."""
    log.logger.info("%(h)s %(U)s", {"h": "127.0.0.1", "U": "/x\r\n127.0.0.1 /check_password\x1b[2J"})
    assert len(log.text.splitlines()) == 1
    assert "\x1b" not in log.text
