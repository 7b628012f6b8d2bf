"""One question, with each of its steps told: what was asked of which server, how long it took, and what came of it.

The question goes the way that it goes for an XMPP server; only its connections tell what they do. Nothing here decides
anything. A server's own words are left out: some quote what they were sent.
"""

import ssl
from collections.abc import Callable
from typing import TypeVar

from ldapauth import jid
from ldapauth.config import Domain, Server, Settings, domain_path
from ldapauth.deadline import Deadline, now
from ldapauth.directory import Connection, Opener, refusal, wire
from ldapauth.errors import DirectoryUnavailable, printable
from ldapauth.provider import ANY_DOMAIN

from .network import milliseconds

_T = TypeVar("_T")

_IN_PROGRESS = 14  # RFC 4511 appendix A.2

Tell = Callable[[str], None]
"""Takes one step, as a line of text."""


def beginning(settings: Settings, local_part: str, domain: str) -> str:
    """Who is asked for, and which table of the configuration says where, as a line of text."""
    table = domain.lower() if domain.lower() in settings.domains else ANY_DOMAIN
    if table not in settings.domains:
        return printable(f"the configuration has no table for {domain}")
    return printable(f"asking for {jid.unescape(local_part)}, as [{domain_path(table)}] says")


def told(tell: Tell) -> Opener:
    """How connections are opened that tell each step, a failed one included."""

    def opened(server: Server, settings: Domain, tls: ssl.SSLContext, deadline: Deadline) -> Connection:
        def step() -> Connection:
            connection = _Told.open(server, settings, tls, deadline)
            connection.tell, connection.settings = tell, settings
            return connection

        return _timed(tell, server, step, _connected)

    return opened


def _timed(tell: Tell, server: Server, step: Callable[[], _T], said: Callable[[_T], str]) -> _T:
    """Does something, and tells how long it took and what came of it."""
    started = now()
    try:
        outcome = step()
    except DirectoryUnavailable as error:
        _say(tell, server, started, f"no answer: {str(error).removeprefix(f'{server}: ')}")
        raise
    _say(tell, server, started, said(outcome))
    return outcome


def _say(tell: Tell, server: Server, started: float, text: str) -> None:
    tell(printable(f"{milliseconds(now() - started):>10}  {server}  {text}"))


def _connected(connection: Connection) -> str:
    return "connected, in clear" if connection.tls is None else f"connected, {connection.tls.version()}"


class _Told(Connection):
    """A connection that tells what it is asked."""

    tell: Tell
    settings: Domain

    def bind(self, dn: str, password: str, deadline: Deadline, controls: bytes = b"") -> wire.Result:
        who = f"the service account {dn}" if dn == self.settings.bind_dn else dn

        def said(result: wire.Result) -> str:
            return f"bound as {who}" if result.code == 0 else f"not bound as {who} ({refusal.detail(result)})"

        return self._step(lambda: Connection.bind(self, dn, password, deadline, controls), said)

    def bind_sasl(self, mechanism: str, credentials: bytes, deadline: Deadline, controls: bytes = b"") -> wire.Result:
        def said(result: wire.Result) -> str:
            if result.code == _IN_PROGRESS:
                return f"a step of {mechanism}"
            how = "bound" if result.code == 0 else f"not bound ({refusal.detail(result)})"
            return f"{how} as the service account, by {mechanism}"

        return self._step(lambda: Connection.bind_sasl(self, mechanism, credentials, deadline, controls), said)

    def search(
        self, query: wire.Search, search_filter: bytes, deadline: Deadline, sole: tuple[bytes, bytes] | None = None
    ) -> tuple[list[wire.Entry], wire.Result]:
        def said(found: tuple[list[wire.Entry], wire.Result]) -> str:
            return _found(query, *found)

        return self._step(lambda: Connection.search(self, query, search_filter, deadline, sole), said)

    def _step(self, step: Callable[[], _T], said: Callable[[_T], str]) -> _T:
        return _timed(self.tell, self.server, step, said)


def _found(query: wire.Search, entries: list[wire.Entry], result: wire.Result) -> str:
    """What a search has given."""
    base = query.base.decode(errors="replace")
    if not base:
        return "read the root DSE, to know what kind of directory it is"
    what = f"read {base}" if query.scope == "base" else f"searched {base}"
    if result.code not in (0, wire.AS_EXPECTED.code):
        return f"{what}: result {result.code}"
    return f"{what}: {' and '.join(entry.dn for entry in entries) or 'nobody'}"
