"""Where users are searched, and which entry counts as found: exactly one, with exactly the name that was asked for.

Owns one search of a login (base DN, scope, filter) or several of them, and the look at what comes back. Knows nothing
of passwords, and of connections no more than how to ask a question on one.
"""

from collections.abc import Sequence

from ldapauth.config import Search
from ldapauth.deadline import Deadline
from ldapauth.errors import UnclearAnswer
from ldapauth.verdict import Reason

from . import wire
from .auto import Auto
from .connection import Connection
from .query import DnTemplate, FilterTemplate, Template, User, is_named

ANY_OBJECT = wire.tlv(wire.PRESENT, b"objectClass")

_SIZE_LIMIT = 2  # entries: two are as ambiguous as a thousand

# RFC 4511 appendix A.2
_SUCCESS, _REFERRAL, _NO_SUCH_OBJECT, _INVALID_DN = 0, 10, 32, 34

Naming = Sequence[tuple[str, Template]]


class Place:
    """One place where users are.

    Args:
        settings: The base DN, scope and filter.
        base: The base DN, parsed.
        template: The filter, parsed; None where it is left to the directory.
        auto: Chooses it then.
        time_limit: Seconds that a server may search, a courtesy to it; our own limit is exact.
    """

    def __init__(
        self, settings: Search, base: DnTemplate, template: FilterTemplate | None, auto: Auto, time_limit: int
    ) -> None:
        self._scope = settings.scope
        self._base = base
        self._filter = template
        self._auto = auto
        self._time_limit = time_limit
        self._queries: dict[tuple[str, ...], wire.Search] = {}

    def find(
        self, connection: Connection, user: User, more: tuple[str, ...], deadline: Deadline
    ) -> wire.Entry | Reason:
        """The one entry that the filter finds and that is named so, or why there is none.

        Args:
            connection: Where, with the rights to search.
            user: Whose.
            more: Attributes that are wanted besides those that name the user.
            deadline: By when.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        template = self._filter or self._auto.filter(connection, deadline)
        sole = None if more else template.sole_attribute(user)
        query = self._queries.get(more) or self._query(user, template.naming, more)
        entries, result = connection.search(query, template.encode(user), deadline, sole)
        if result is wire.AS_EXPECTED:
            return entries[0]
        if result.code in (_NO_SUCH_OBJECT, _INVALID_DN) and not self._base.constant:
            return Reason.NO_SUCH_USER  # no directory tree for this domain
        if result.code == _NO_SUCH_OBJECT:
            base = self._base.fill(user)
            raise UnclearAnswer(
                f"{connection.server}: there is no {base}, or the service account may not see it (result 32):"
                " see base_dn and bind_dn"
            )
        if len(entries) > 1:
            return Reason.AMBIGUOUS
        if result.code != _SUCCESS:
            raise UnclearAnswer(f"{connection.server}: the search failed ({said(result)})")
        if not entries:
            return Reason.NO_SUCH_USER
        return named(connection, user, template.naming, entries[0], more)

    def _query(self, user: User, naming: Naming, more: tuple[str, ...]) -> wire.Search:
        """The search around the filter, which is remembered where the base DN is the same for all users."""
        names = (*attributes(naming), *more)
        query = wire.Search(self._base.fill(user).encode(), self._scope, names, _SIZE_LIMIT, self._time_limit)
        if self._base.constant:
            self._queries[more] = query
        return query


def find_in(
    places: Sequence[Place], connection: Connection, user: User, more: tuple[str, ...], deadline: Deadline
) -> wire.Entry | Reason:
    """The one entry in all of several places, each of which is asked: two are ambiguous, wherever they are.

    An entry that two places have in common is one. Arguments and exceptions are those of `Place.find`.
    """
    found: wire.Entry | Reason = Reason.NO_SUCH_USER
    for place in places:
        another = place.find(connection, user, more, deadline)
        if another is Reason.NO_SUCH_USER or _same(found, another):
            continue
        if found is not Reason.NO_SUCH_USER:
            return Reason.AMBIGUOUS
        found = another
    return found


def _same(one: wire.Entry | Reason, other: wire.Entry | Reason) -> bool:
    return isinstance(one, wire.Entry) and isinstance(other, wire.Entry) and one.dn == other.dn


def named(
    connection: Connection, user: User, naming: Naming, entry: wire.Entry, more: tuple[str, ...]
) -> wire.Entry | Reason:
    """The entry, if it is named as the user is; `more` is what it was asked for besides.

    Raises:
        UnclearAnswer: What names it can't be read.
    """
    if not entry.dn:  # RFC 4513 5.1.1: a bind with it would be anonymous, and succeed
        raise UnclearAnswer(f"{connection.server}: an entry without a DN")
    names = _without(more, entry) if more else entry
    if is_named(user, naming, names):
        return entry
    if not any(names.attributes.values()):
        raise UnclearAnswer(
            f"{connection.server}: the service account may not read {', '.join(attributes(naming))} of whom it finds"
        )
    return Reason.OTHER_NAME


def _without(more: tuple[str, ...], entry: wire.Entry) -> wire.Entry:
    """The entry with nothing but what names it."""
    kept = {name: values for name, values in entry.attributes.items() if not is_any(name, more)}
    return wire.Entry(entry.message_id, entry.dn, kept)


def is_any(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether an attribute is one of those wanted; some servers return one without its options."""
    return name.lower().partition(";")[0] in {other.lower().partition(";")[0] for other in wanted}


def attributes(naming: Naming) -> tuple[str, ...]:
    """The attributes that name a user, each once."""
    return tuple(dict.fromkeys(name for name, _ in naming))


def said(result: wire.Result) -> str:
    """A result for an operator. Referrals are not followed: they would take the password to whatever host they name."""
    if result.code == _REFERRAL:
        return "result 10: the server refers to another one, which is not followed"
    return f"result {result.code}: {result.message}" if result.message else f"result {result.code}"
