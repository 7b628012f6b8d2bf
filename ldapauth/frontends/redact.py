"""Keeps the passwords that come in URLs out of the logs of the server that runs the app; imports nothing of ours.

gunicorn writes the whole target of a request into its error log when a worker times out, and into its access log by
default, and quotes what it can't read: half a password behind a raw space, a form without a length, a broken header.
What follows a question mark, and what is quoted, is removed from every line of such servers.
"""

import logging
import re

_ACCESS = "gunicorn.access"
_LOGGERS = ("gunicorn.error", _ACCESS, "werkzeug", "waitress")

_QUERY = re.compile(r"(?:[?#]|%3f|%23)\S*", re.IGNORECASE)
_QUOTED = re.compile(r"""^(Invalid request from |Ignored premature client disconnection)([^'"]*)['"].*""", re.DOTALL)


def strip_queries() -> None:
    """Has the servers' loggers leave out whatever follows a question mark."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Redaction) for known in logger.filters):
            logger.addFilter(_Redaction())


def _redacted(text: str) -> str:
    return _QUERY.sub("?…", _QUOTED.sub(r"\1\2…", text))


class _Redaction(logging.Filter):
    """Rewrites a record, its exception included, before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = _redacted(record.getMessage())
        except Exception:  # noqa: BLE001 - an argument may raise anything, and a log line is no reason to fail
            text = "(a line that could not be formatted)"
        if record.name == _ACCESS:  # the path is decoded: a line break in it would begin a line of its own
            text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
        record.msg, record.args = text, None
        if record.exc_info:
            record.exc_text = _redacted(logging.Formatter().formatException(record.exc_info))
        return True
