"""The log: where it goes, and how a line looks. Imports the configuration's types and nothing else of ours.

A line is an event and its fields, in logfmt or as a JSON object. Values come from users and servers, so what is not
plain is quoted and escaped: no name can forge a field, a line, or a command to a terminal. Where names of users are not
to be in the log, they are replaced here, on the way into a line.
"""

import contextlib
import hashlib
import hmac
import json
import logging
import logging.handlers
import os
import re
import secrets
import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from .config import Log

ROOT = "ldapauth"
_root = logging.getLogger(ROOT)

SYSLOG_SOCKET = "/dev/log"

_STDERR = 2


def configure(settings: Log, *, stderr: bool = True) -> str:
    """Sends the log where the settings say, and returns that place in words.

    Args:
        settings: The `[log]` table.
        stderr: Whether standard error can be written to; where it can't (it is the XMPP server's terminal), what should
            go there goes to syslog. What can't be opened is replaced by nothing at all: no log is worth a login.
    """
    target = "syslog" if settings.target == "stderr" and not stderr else settings.target
    style: _Style = _Json() if settings.format == "json" else _Logfmt()
    if settings.users == "hash":
        style = _Hidden(style, _key(settings))
    handler, place = _handler(target, style)
    for replaced in _root.handlers:
        if not isinstance(replaced, _Lines):  # another thread may just be about to write to its descriptor
            replaced.close()
    _root.handlers[:] = [handler]
    _root.setLevel(settings.level.upper())
    _root.propagate = False
    logging.raiseExceptions = False  # a full disk is no reason to print a traceback where answers are read
    logging.logThreads = logging.logMultiprocessing = False  # no format of ours shows them, and each line pays for them
    return place


def event(logger: logging.Logger, level: int, name: str, **fields: str) -> None:
    """Logs an event with its fields; empty ones are left out."""
    if level >= _root.level:
        waiting = held.waiting
        if waiting is None:
            _log(logger, level, time.time(), name, fields)
        else:
            waiting.append((logger, level, time.time(), name, fields))
            if held.waiting is not waiting:  # it ended just now, in another thread, which may not have seen this one
                _write_all(waiting)


def _write_all(waiting: "list[_Waiting]") -> None:
    """Has events written, the first one first, each by one thread."""
    with contextlib.suppress(IndexError):
        while True:
            _log(*waiting.pop(0))


def _log(logger: logging.Logger, level: int, created: float, name: str, fields: dict[str, str]) -> None:
    """Has an event written.

    Where lines are all that becomes of it, as a rule, they are written without the library's records, filters and
    locks, which take three times as long as the words.
    """
    handlers = _root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], _Lines) and not _root.propagate:
        handlers[0].write(level, created, name, fields)
    else:
        logger.handle(_Event(logger.name, level, created, name, fields))


_BLANK = vars(logging.LogRecord("", 0, "", 0, "", None, None))


class _Event(logging.LogRecord):
    """An event as the library knows it. Who called from where is left out: no line of ours shows it."""

    def __init__(self, logger: str, level: int, created: float, name: str, fields: dict[str, str]) -> None:
        vars(self).update(_BLANK)
        self.name = logger
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.created = created
        self.msecs = created % 1 * 1000
        self.event = name, fields

    def getMessage(self) -> str:  # noqa: N802 - as the library calls it
        """The line, but for the time and the level."""
        return logfmt(*self.event)


class Quoting(str):
    """A field's value with something of a server's answer in it, which may quote a user's name however it likes."""

    __slots__ = ()


class _Asked(threading.local):
    """What a line says of the question that a thread is at, and what only others know than whoever writes it.

    Attributes:
        id: What the front end calls the question.
        server: The server that was asked last; empty as long as none was.
    """

    id = ""
    server = ""


asked = _Asked()


_LEVELS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARNING", logging.ERROR: "ERROR"}

_UNQUOTED = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, quotation mark, equals sign and backslash


def logfmt(name: str, fields: dict[str, str]) -> str:
    """An event in logfmt; what could be taken for another field or another line is quoted."""
    words = [f" {key}={value}" for key, value in fields.items() if value]
    line = "".join(words)
    # As a rule no value has anything in it for which it must be quoted, which is soon seen of all of them at once.
    plain = line.isascii() and line.isprintable() and '"' not in line and "\\" not in line
    if not plain or line.count(" ") > len(words) or line.count("=") > len(words):
        line = "".join([f" {key}={_quoted(value)}" for key, value in fields.items() if value])
    return f"event={name}{line}"


def _quoted(value: str) -> str:
    return value if _UNQUOTED.fullmatch(value) else json.dumps(value)


class _Style(Protocol):
    """How an event looks. Each method takes the level, seconds since the epoch, the event's name and its fields."""

    def line(self, level: int, created: float, name: str, fields: dict[str, str]) -> str:
        """A line, without its end."""

    def message(self, level: int, created: float, name: str, fields: dict[str, str]) -> str:
        """What syslog is given."""


class _Timed:
    """Formats times to the second, once in a second.

    Args:
        template: As `time.strftime` takes it.
    """

    def __init__(self, template: str) -> None:
        self._template = template
        self._last = 0, ""

    def at(self, created: float) -> str:
        """The time as text, but for the milliseconds."""
        second, text = self._last
        if second != int(created):
            second = int(created)
            text = time.strftime(self._template, time.localtime(second))
            self._last = second, text
        return text


class _Logfmt(_Timed):
    """`2026-11-22 02:53:32,254 INFO event=… key=value …`."""

    def __init__(self) -> None:
        super().__init__("%Y-%m-%d %H:%M:%S")

    def line(self, level: int, created: float, name: str, fields: dict[str, str]) -> str:
        milliseconds = int(created % 1 * 1000)
        return f"{self.at(created)},{milliseconds:03} {_LEVELS[level]} {logfmt(name, fields)}"

    def message(self, level: int, created: float, name: str, fields: dict[str, str]) -> str:  # noqa: ARG002 - see _Style
        return f"{_LEVELS[level]} {logfmt(name, fields)}"


_NUMBERS = {"ms", "questions", "seconds", "failures"}


class _Json(_Timed):
    """`{"time": "2026-11-22T02:53:32.254+0100", "level": "INFO", "event": …}`. Source: RFC 3339, ISO 8601."""

    def __init__(self) -> None:
        super().__init__("%Y-%m-%dT%H:%M:%S.%%03d%z")

    def line(self, level: int, created: float, name: str, fields: dict[str, str]) -> str:
        moment = self.at(created) % int(created % 1 * 1000)
        shown = {key: json.loads(value) if key in _NUMBERS else value for key, value in fields.items() if value}
        return json.dumps({**shown, "time": moment, "level": _LEVELS[level], "event": name})

    message = line


class _Hidden:
    """Another style, with names of users replaced by a keyed hash: the same one for a name within a day.

    What may quote a name is left out: a name has more spellings than could be looked for in it.

    Who has a list of names can't find out which is which by hashing it, without the key; and nobody can follow one user
    from day to day.

    Args:
        style: The style.
        key: The key.
    """

    def __init__(self, style: _Style, key: bytes) -> None:
        self._style = style
        self._key = key

    def line(self, level: int, created: float, name: str, fields: dict[str, str]) -> str:
        return self._style.line(level, created, name, self._without_names(created, fields))

    def message(self, level: int, created: float, name: str, fields: dict[str, str]) -> str:
        return self._style.message(level, created, name, self._without_names(created, fields))

    def _without_names(self, created: float, fields: dict[str, str]) -> dict[str, str]:
        fields = {key: value for key, value in fields.items() if not isinstance(value, Quoting)}
        user = fields.get("user")
        if not user:
            return fields
        day = time.strftime("%Y-%m-%d", time.localtime(created))
        text = "\0".join([day, fields.get("domain", ""), user]).lower().encode("utf-8", "surrogatepass")
        hidden = hmac.digest(self._key, text, hashlib.sha256).hex()[:16]
        return {**fields, "user": hidden}


def _key(settings: Log) -> bytes:
    """The key for users' names; one that nobody knows, if none is given."""
    return settings.users_key.reveal().encode() if settings.users_key is not None else secrets.token_bytes(32)


_Waiting = tuple[logging.Logger, int, float, str, dict[str, str]]


class _Held:
    """A context in which events wait, and are written at its end: `with held:`.

    It is for the programs on standard input, which answer one question at a time: whoever waits for an answer is not to
    wait for the log as well. What other threads log meanwhile is written with the rest.

    Attributes:
        waiting: What waits; nothing does outside the context.
    """

    def __init__(self) -> None:
        self.waiting: list[_Waiting] | None = None
        self._writing = False
        self._last: Callable[[], object] | None = None

    def __enter__(self) -> None:
        self.waiting = []

    def __exit__(self, *_: object) -> None:
        self._release()

    def end_with(self, act: Callable[[], object]) -> None:
        """Does something when what waits is written: at once, or when what is being written is.

        It is for whoever ends the process, be it from a signal's handler that comes in the middle of a line.
        """
        self._last = act
        if not self._writing:
            self._release()

    def _release(self) -> None:
        """Writes what waits."""
        self._writing = True
        waiting, self.waiting = self.waiting, None
        _write_all(waiting or [])
        self._writing = False
        if self._last:
            self.waiting = None  # nothing that it logs is to wait for another end
            self._last()


held = _Held()


def _handler(target: str, style: _Style) -> tuple[logging.Handler, str]:
    try:
        if target == "stderr":
            return _Lines(_STDERR, style), "stderr"
        if target == "syslog":
            syslog = logging.handlers.SysLogHandler(SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_AUTH)
            syslog.setFormatter(_SyslogFormatter(style))
            return syslog, "syslog"
        if target != "none":
            return _file(target, style), target
    except (OSError, ValueError):  # ValueError: a NUL in a file's name
        return logging.NullHandler(), f"nowhere ({target} can't be opened)"
    return logging.NullHandler(), "nowhere"


def _file(path: str, style: _Style) -> "_FileLines":
    """What writes to a file: the same as before, where it does so already."""
    for handler in _root.handlers:
        if isinstance(handler, _FileLines) and handler.path == path and not handler.closed:
            handler.restyle(style)
            return handler
    return _FileLines(path, style)


class _SyslogFormatter(logging.Formatter):
    """Has the library's handler for syslog send events in our style."""

    def __init__(self, style: _Style) -> None:
        super().__init__()
        self._message = style.message

    def format(self, record: logging.LogRecord) -> str:
        assert isinstance(record, _Event)  # noqa: S101 - for the type checker: nothing else is logged
        return f"ldapauth[{os.getpid()}]: {self._message(record.levelno, record.created, *record.event)}"


class _Lines(logging.Handler):
    """Writes lines to a descriptor, each in one piece: those of several processes do not run into one another.

    The library's own handlers and formatters do more than these lines need, at each login.
    """

    def __init__(self, descriptor: int, style: _Style) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.restyle(style)

    def restyle(self, style: _Style) -> None:
        """Has lines look so from now on."""
        self._line = style.line

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record, _Event)  # noqa: S101 - for the type checker: nothing else is logged
        self.write(record.levelno, record.created, *record.event)

    def write(self, level: int, created: float, name: str, fields: dict[str, str]) -> None:
        """Writes a line; on a full disk none, for that is no reason to fail a login."""
        line = f"{self._line(level, created, name, fields)}\n"
        try:
            os.write(self.descriptor(created), line.encode("utf-8", "backslashreplace"))
        except OSError:
            return

    def descriptor(self, created: float) -> int:  # noqa: ARG002 - for files
        """Where a line of this moment goes."""
        return self._descriptor


class _FileLines(_Lines):
    """Writes lines to the end of a file; to a new one of its name a second after it was moved away (logrotate)."""

    def __init__(self, path: str, style: _Style) -> None:
        self.path = path
        self.closed = False
        super().__init__(self._open(), style)

    def restyle(self, style: _Style) -> None:
        super().restyle(style)
        self._looked = -1

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        opened = os.fstat(descriptor)
        self._identity = opened.st_dev, opened.st_ino
        return descriptor

    def descriptor(self, created: float) -> int:
        """Where a line of this moment goes. Whether the file was moved away is looked at once in a second."""
        if self._looked == int(created):
            return self._descriptor
        try:
            there = os.stat(self.path)  # noqa: PTH116 - a Path for a name that is only handed on
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._identity:
            new = self._open()
            os.dup2(new, self._descriptor, inheritable=False)  # other threads write to the one or the other
            os.close(new)
        self._looked = int(created)
        return self._descriptor

    def close(self) -> None:
        if not self.closed:  # the library does it at exit once more, when the descriptor may be somebody else's
            os.close(self._descriptor)
        self.closed = True
        super().close()


def bug(logger: logging.Logger, error: BaseException) -> None:
    """Logs an exception that nothing expected: its class and where it was raised, and not its text, which may quote."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    event(logger, logging.ERROR, "bug", error=type(error).__name__, where=where)
