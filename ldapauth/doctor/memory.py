"""The Redis in which processes share what the guard remembers.

Logins go on without it, each process with a memory of its own. So nothing here is a problem; but a budget of wrong
passwords that nobody shares is one for each process, which is worth a warning.
"""

import ipaddress
import urllib.parse
from collections.abc import Iterator

from ldapauth.config import Settings
from ldapauth.guard.line import Away
from ldapauth.guard.login import PATIENCE
from ldapauth.guard.shared import examine

from .finding import Finding, ok, warning

_SLOW = PATIENCE / 4
"""Seconds for a look at a record: a login has several of them, and a busy day besides."""


def shared(settings: Settings) -> Iterator[Finding]:
    """Whether Redis can be asked, in time, whether it keeps what it is given, and who may listen."""
    if settings.guard.storage is None:
        return
    try:
        found = examine(settings.guard)
    except Away as error:
        yield warning(
            f"guard.storage: {error}: each process remembers for itself",
            "does it run there, and may this user and password run scripts (EVALSHA)? see guard.storage",
        )
        return
    took = f"Redis {found.version}".strip() + f" looks at a record in {found.seconds * 1000:.1f} ms"
    if found.seconds < _SLOW:
        yield ok(took)
    else:
        yield warning(f"{took}; a login waits {PATIENCE * 1000:.0f} ms for it, all in all", "have one nearby")
    if found.policy:
        yield warning(
            f"what is remembered may go when its memory is full (maxmemory-policy {found.policy})",
            "give it a Redis of its own with maxmemory-policy noeviction",
        )
    if _is_in_clear(settings.guard.storage.reveal()):
        yield warning("guard.storage: Redis is asked over the network in clear", "use rediss://")


def _is_in_clear(url: str) -> bool:
    """Whether what is sent there could be read on the way."""
    address = urllib.parse.urlsplit(url)
    host = address.hostname or "localhost"
    try:
        return address.scheme == "redis" and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return address.scheme == "redis" and host != "localhost"
