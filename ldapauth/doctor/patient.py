"""One domain's directory on one server, as the checks see it.

Owns the connection that the checks of a server share, how long each question may take, and what one check has to tell
the next ones. Knows no check.
"""

import dataclasses
import math
import ssl

from ldapauth.config import Domain, Secret, Server
from ldapauth.deadline import Deadline, now
from ldapauth.directory import service, wire
from ldapauth.directory.connection import Connection

from .finding import NotAsked
from .server import ATTRIBUTES, RootDse, parsed

ANY_OBJECT = wire.tlv(wire.PRESENT, b"objectClass")


@dataclasses.dataclass
class Case:
    """One domain, whichever of its servers is asked.

    Attributes:
        table: The name of its table in the configuration, which may be `*`.
        domain: The virtual host for which questions are asked; empty where none was named for `*`.
        settings: The table.
        refused: The service accounts that have been refused in this run, which must not be tried again.
    """

    table: str
    domain: str
    settings: Domain
    refused: list[tuple[str, Secret]]

    @property
    def account(self) -> tuple[str, Secret] | None:
        """The service account's DN and password, if there is one."""
        dn, password = self.settings.bind_dn, self.settings.bind_password
        return None if dn is None or password is None else (dn, password)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a search has given, and how many seconds it took."""

    entries: list[wire.Entry]
    result: wire.Result
    seconds: float


class Patient:
    """A server of a domain.

    Args:
        case: The domain.
        server: The server.
        tls: How TLS is done with it.

    Attributes:
        out_of_reach: Why there can't be a connection, once a check has found out.
        unbound: Why nothing can be asked as the service account.
        baseless: Why nothing can be asked about people.
        sample: An entry such as the filter finds, once there is one, with those of its attributes that were asked for.
    """

    def __init__(self, case: Case, server: Server, tls: ssl.SSLContext) -> None:
        self.case = case
        self.settings = case.settings
        self.server = server
        self.tls = tls
        self.out_of_reach = ""
        self.unbound = "the service account has not bound"
        self.baseless = ""
        self.sample: wire.Entry | None = None
        self._connection: Connection | None = None
        self._root_dse: RootDse | str = ""

    def limit(self) -> Deadline:
        """The deadline of one question: what a login would have."""
        return Deadline.after(self.settings.deadline)

    def connection(self, *, bound: bool = True) -> Connection:
        """The connection; a new one where a check has lost it.

        Args:
            bound: Whether it has to be bound as the service account (or to be anonymous by intention).

        Raises:
            NotAsked: There is none to be had.
            DirectoryUnavailable: It can't be opened again.
        """
        if self.out_of_reach or (bound and self.unbound):
            raise NotAsked(self.out_of_reach or self.unbound)
        if self._connection is None or self._connection.closed:
            self._connection = Connection.open(self.server, self.settings, self.tls, self.limit())
            if service.is_configured(self.settings) and not self.unbound:
                service.bind(self._connection, self.settings, self.limit())
        return self._connection

    def root_dse(self) -> RootDse:
        """The root DSE, which needs no bind with most servers. It is read once; a failure is not repeated either.

        Raises:
            NotAsked: It is not shown or could not be read, or there is no connection.
            DirectoryUnavailable: There was no answer.
        """
        if not self._root_dse:
            self.connection(bound=False)
            self._root_dse = "what the root DSE says: it could not be read"
            answer = self.read("", *ATTRIBUTES, bound=False)
            shown = bool(answer.entries)
            self._root_dse = (
                parsed(answer.entries[0]) if shown else "what the root DSE says: the server does not show it"
            )
        if isinstance(self._root_dse, str):
            raise NotAsked(self._root_dse)
        return self._root_dse

    def demand_base(self) -> None:
        """For checks of what is below the base DN.

        Raises:
            NotAsked: That can't be asked about.
        """
        self.connection()
        if self.baseless:
            raise NotAsked(self.baseless)

    def query(self, base: str, scope: str, *attributes: str, size_limit: int = 2) -> wire.Search:
        """The parts of a search around its filter; `1.1` for no attribute."""
        return wire.Search(base.encode(), scope, attributes, size_limit, math.ceil(self.settings.deadline))

    def search(self, query: wire.Search, search_filter: bytes, *, bound: bool = True) -> Answer:
        """A search, timed.

        Raises:
            NotAsked: There is no connection.
            DirectoryUnavailable: There was no answer.
        """
        connection = self.connection(bound=bound)
        started = now()
        entries, result = connection.search(query, search_filter, self.limit())
        return Answer(entries, result, now() - started)

    def read(self, dn: str, *attributes: str, bound: bool = True) -> Answer:
        """One entry."""
        return self.search(self.query(dn, "base", *attributes, size_limit=1), ANY_OBJECT, bound=bound)

    def close(self) -> None:
        """Says goodbye to the server."""
        if self._connection is not None:
            self._connection.close()


def equal(attribute: str, value: str) -> bytes:
    """The filter that an attribute has a value."""
    return wire.equality(attribute, value.encode())


def present(attribute: str) -> bytes:
    """The filter that an attribute has any value."""
    return wire.tlv(wire.PRESENT, attribute.encode())


def said(result: wire.Result) -> str:
    """A result, with the server's own words where it has any."""
    return f"result {result.code}: {result.message}" if result.message else f"result {result.code}"
