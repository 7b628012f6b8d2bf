"""Keeps the passwords that come in URLs out of the logs of the server that runs the app; imports nothing of ours.

gunicorn writes the whole target of a request into its error log when a worker times out or a request can't be read, and
into its access log by default, as do others. What follows a question mark is removed from every line of theirs.
"""

import logging
import re

_LOGGERS = ("gunicorn.error", "gunicorn.access", "werkzeug", "waitress")
_QUERY = re.compile(r"\?\S*")


def strip_queries() -> None:
    """Has the servers' loggers leave out whatever follows a question mark."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Redaction) for known in logger.filters):
            logger.addFilter(_Redaction())


class _Redaction(logging.Filter):
    """Rewrites a record, its exception included, before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            record.msg = _QUERY.sub("?…", record.getMessage())
        except (TypeError, ValueError, KeyError):
            record.msg = "(a line that could not be formatted)"
        record.args = None
        if record.exc_info:
            record.exc_text = _QUERY.sub("?…", logging.Formatter().formatException(record.exc_info))
        return True
