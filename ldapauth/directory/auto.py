"""What the configuration leaves to the directory, chosen by its kind: filters, and the way of a new password.

Owns the question what kind it is, which is the root DSE of one server (RFC 4512 5.1), and its answer. It is asked by
the first question that needs it, and never again: the servers of a domain hold the same directory. What the
configuration says, or what it says the kind is, needs no asking.
"""

import dataclasses
import logging

from ldapauth import log
from ldapauth.config import Domain
from ldapauth.deadline import Deadline
from ldapauth.errors import UnclearAnswer
from ldapauth.kinds import KINDS, RFC_3062, ROOT_DSE, Kind, Membership, Way, recognised

from . import wire
from .connection import Connection
from .query import FilterTemplate

_log = logging.getLogger(__name__)

_QUERY = wire.Search(b"", "base", ROOT_DSE, 1, 0)
_ANY_OBJECT = wire.tlv(wire.PRESENT, b"objectClass")

_SUCCESS, _NO_SUCH_OBJECT = 0, 32


@dataclasses.dataclass(frozen=True, slots=True)
class _Chosen:
    """What was chosen, as in the configuration."""

    kind: Kind
    filter: FilterTemplate
    password_change: Way


class Auto:
    """The settings of a domain that are left to its directory; for any number of threads.

    Each method takes the connection on which the directory is asked, if it must be, and by when.

    Raises:
        DirectoryUnavailable: It can't be asked now; the next question tries again. To go on without an answer might ask
            for the wrong attribute, or store a password in clear for good.
    """

    def __init__(self, settings: Domain) -> None:
        self._settings = settings
        self._chosen: _Chosen | None = None

    def filter(self, connection: Connection, deadline: Deadline) -> FilterTemplate:
        """Which entry is the user's, where the configuration does not say."""
        return self._asked(connection, deadline).filter

    def password_change(self, connection: Connection, deadline: Deadline) -> Way:
        """How a new password is set."""
        if self._settings.password_change != "auto":  # noqa: S105 - the name of a way, not a password
            return self._settings.password_change
        return self._asked(connection, deadline).password_change

    def inactive(self, connection: Connection, deadline: Deadline) -> str:
        """Which accounts may not be used; nothing when all may."""
        if self._settings.inactive is not None:
            return self._settings.inactive
        return self.kind(connection, deadline).inactive or ""

    def membership(self, connection: Connection, deadline: Deadline) -> Membership:
        """How it is asked whether an entry is in a group."""
        if self._settings.group_membership != "auto":
            return self._settings.group_membership
        return self.kind(connection, deadline).membership

    def kind(self, connection: Connection, deadline: Deadline) -> Kind:
        """What kind of directory it is."""
        if self._settings.directory != "auto":
            return KINDS[self._settings.directory]
        return self._asked(connection, deadline).kind

    def _asked(self, connection: Connection, deadline: Deadline) -> _Chosen:
        if self._chosen is None:
            self._chosen = _choice(connection, deadline)
        return self._chosen


def _choice(connection: Connection, deadline: Deadline) -> _Chosen:
    entries, result = connection.search(_QUERY, _ANY_OBJECT, deadline)
    if result.code not in (_SUCCESS, _NO_SUCH_OBJECT):
        raise UnclearAnswer(f"{connection.server}: the root DSE can't be read (result {result.code})")
    # A server that shows no root DSE is nothing special.
    attributes = entries[0].attributes if entries else {}
    name = recognised(attributes)
    kind = KINDS[name]
    way = kind.way or _best_way(attributes)
    log.event(_log, logging.INFO, "directory", kind=name, password_change=way, server=str(connection.server))
    return _Chosen(kind, FilterTemplate(kind.filter), way)


def _best_way(root_dse: dict[str, list[bytes]]) -> Way:
    """RFC 3062, by which the server hashes the password, where it is offered."""
    return "extended" if RFC_3062.encode() in root_dse.get("supportedExtension", []) else "modify"
