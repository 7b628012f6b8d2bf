"""The log: where it goes, and how a line looks. Imports the configuration's types and nothing else of ours.

A line is an event and its fields in logfmt. Values come from users and servers, so what is not plain is quoted and
escaped: no name can forge a field, a line, or a command to a terminal.
"""

import contextlib
import json
import logging
import logging.handlers
import sys
import traceback

from .config import Log

ROOT = "ldapauth"

SYSLOG_SOCKET = "/dev/log"


def configure(settings: Log, *, stderr: bool = True) -> str:
    """Sends the log where the settings say, and returns that place in words.

    Args:
        settings: The `[log]` table.
        stderr: Whether standard error can be written to; where it can't (it is the XMPP server's terminal), what should
            go there goes to syslog. What can't be opened is replaced by nothing at all: no log is worth a login.
    """
    target = "syslog" if settings.target == "stderr" and not stderr else settings.target
    handler, place = _handler(target)
    root = logging.getLogger(ROOT)
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    root.propagate = False
    logging.raiseExceptions = False  # a full disk is no reason to print a traceback where answers are read
    logging.logThreads = logging.logMultiprocessing = False  # no format of ours shows them, and each line pays for them
    return place


def event(logger: logging.Logger, level: int, name: str, **fields: str) -> None:
    """Logs an event with its fields; empty ones are left out."""
    if logger.isEnabledFor(level):
        pairs = {"event": name, **fields}
        logger.log(level, "%s", " ".join(f"{key}={quoted(value)}" for key, value in pairs.items() if value))


def quoted(value: str) -> str:
    """A value that can't be taken for another field or another line."""
    if value.isascii() and value.isprintable() and not set(value) & set(' "=\\'):
        return value
    return json.dumps(value)


def _handler(target: str) -> tuple[logging.Handler, str]:
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    try:
        if target == "stderr":
            return _formatted(logging.StreamHandler(sys.stderr), plain), "stderr"
        if target == "syslog":
            syslog = logging.handlers.SysLogHandler(SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_AUTH)
            return _formatted(syslog, logging.Formatter("ldapauth[%(process)d]: %(levelname)s %(message)s")), "syslog"
        if target != "none":
            return _formatted(_File(target), plain), target
    except (OSError, ValueError):  # ValueError: a NUL in a file's name
        return logging.NullHandler(), f"nowhere ({target} can't be opened)"
    return logging.NullHandler(), "nowhere"


class _File(logging.handlers.WatchedFileHandler):
    """A file that is opened again after it was moved away; where that fails, its lines are lost and nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # Python's own swallows what a write raises, but not what opening again does
            super().emit(record)


def _formatted(handler: logging.Handler, formatter: logging.Formatter) -> logging.Handler:
    handler.setFormatter(formatter)
    return handler


def bug(logger: logging.Logger, error: BaseException) -> None:
    """Logs an exception that nothing expected: its class and where it was raised, and not its text, which may quote."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    event(logger, logging.ERROR, "bug", error=type(error).__name__, where=where)
