"""The log: where it goes, and how a line looks. Imports the configuration's types and nothing else of ours.

A line is an event and its fields in logfmt. Values come from users and servers, so what is not plain is quoted and
escaped: no name can forge a field, a line, or a command to a terminal.
"""

import json
import logging
import logging.handlers
import os
import re
import time
import traceback

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
    handler, place = _handler(target)
    _root.handlers[:] = [handler]
    _root.setLevel(settings.level.upper())
    _root.propagate = False
    logging.raiseExceptions = False  # a full disk is no reason to print a traceback where answers are read
    logging.logThreads = logging.logMultiprocessing = False  # no format of ours shows them, and each line pays for them
    return place


def event(logger: logging.Logger, level: int, name: str, **fields: str) -> None:
    """Logs an event with its fields; empty ones are left out."""
    if logger.isEnabledFor(level):
        if held.waiting is None:
            _log(logger, level, time.time(), name, fields)
        else:
            held.waiting.append((logger, level, time.time(), name, fields))


def _log(logger: logging.Logger, level: int, created: float, name: str, fields: dict[str, str]) -> None:
    """Has an event written.

    Where lines are all that becomes of it, as a rule, they are written without the library's records, filters and
    locks, which take three times as long as the words.
    """
    handlers = _root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], _Lines) and not _root.propagate:
        handlers[0].write(level, created, _words(name, fields))
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
        self._event = name, fields

    def getMessage(self) -> str:  # noqa: N802 - as the library calls it
        """The line, but for the time and the level."""
        return _words(*self._event)


def _words(name: str, fields: dict[str, str]) -> str:
    """An event in logfmt."""
    return f"event={name}" + "".join([f" {key}={quoted(value)}" for key, value in fields.items() if value])


_UNQUOTED = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, quotation mark, equals sign and backslash


def quoted(value: str) -> str:
    """A value that can't be taken for another field or another line."""
    return value if _UNQUOTED.fullmatch(value) else json.dumps(value)


class _Held:
    """A context in which events wait, and are written at its end: `with held:`.

    It is for the programs on standard input, which answer one question at a time: whoever waits for an answer is not to
    wait for the log as well. What other threads log meanwhile is written with the rest.

    Attributes:
        waiting: What waits; nothing does outside the context.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[logging.Logger, int, float, str, dict[str, str]]] | None = None

    def __enter__(self) -> None:
        self.waiting = []

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Writes what waits; for whoever ends the process within the context, too."""
        waiting, self.waiting = self.waiting, None
        for what in waiting or ():
            _log(*what)


held = _Held()


def _handler(target: str) -> tuple[logging.Handler, str]:
    try:
        if target == "stderr":
            return _Lines(_STDERR), "stderr"
        if target == "syslog":
            syslog = logging.handlers.SysLogHandler(SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_AUTH)
            syslog.setFormatter(logging.Formatter("ldapauth[%(process)d]: %(levelname)s %(message)s"))
            return syslog, "syslog"
        if target != "none":
            return _FileLines(target), target
    except (OSError, ValueError):  # ValueError: a NUL in a file's name
        return logging.NullHandler(), f"nowhere ({target} can't be opened)"
    return logging.NullHandler(), "nowhere"


class _Lines(logging.Handler):
    """Writes lines to a descriptor, each in one piece: those of several processes do not run into one another.

    The library's own handlers and formatters do more than these lines need, at each login.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._second = 0, ""

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.levelno, record.created, record.getMessage())

    def write(self, level: int, created: float, words: str) -> None:
        """Writes a line; on a full disk none, for that is no reason to fail a login."""
        second, date = self._second
        if second != int(created):
            second = int(created)
            date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = second, date
        line = f"{date},{int(created % 1 * 1000):03} {logging.getLevelName(level)} {words}\n"
        try:
            os.write(self.descriptor(), line.encode("utf-8", "backslashreplace"))
        except OSError:
            return

    def descriptor(self) -> int:
        """Where the next line goes."""
        return self._descriptor


class _FileLines(_Lines):
    """Writes lines to the end of a file; to a new one of its name when it was moved away (logrotate)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._closed = False
        super().__init__(self._open())

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        opened = os.fstat(descriptor)
        self._identity = opened.st_dev, opened.st_ino
        return descriptor

    def descriptor(self) -> int:
        """Where the next line goes."""
        try:
            there = os.stat(self._path)  # noqa: PTH116 - a Path for a name that is only handed on
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._identity:
            new = self._open()
            os.dup2(new, self._descriptor, inheritable=False)  # other threads write to the one or the other
            os.close(new)
        return self._descriptor

    def close(self) -> None:
        if (
            not self._closed
        ):  # the library closes handlers at exit once more, when the descriptor may be somebody else's
            os.close(self._descriptor)
        self._closed = True
        super().close()


def bug(logger: logging.Logger, error: BaseException) -> None:
    """Logs an exception that nothing expected: its class and where it was raised, and not its text, which may quote."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    event(logger, logging.ERROR, "bug", error=type(error).__name__, where=where)
