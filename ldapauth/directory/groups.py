"""Whether a user is in one of the groups that the domain asks for.

Owns the ways in which directories keep memberships, and how far groups in groups are followed. Whether two DNs are the
same is always left to the server, which alone knows how each attribute compares. Knows nothing of names and passwords.
"""

import re

from ldapauth.config import Domain
from ldapauth.deadline import Deadline
from ldapauth.errors import UnclearAnswer
from ldapauth.kinds import Membership

from . import wire
from .auto import Auto
from .connection import Connection
from .query import DnTemplate, User
from .search import ANY_OBJECT, said

DEEPEST = 8
"""How many groups may stand in one another between the required one and the user."""

MOST = 500
"""Groups that a user may be in at a depth: more of them no server should be asked about at once."""

_IN_CHAIN = b"1.2.840.113556.1.4.1941"  # LDAP_MATCHING_RULE_TRANSITIVE_EVAL, [MS-ADTS] 3.1.1.3.4.4.3

# RFC 4511 appendix A.2
_SUCCESS, _SIZE_LIMIT_EXCEEDED, _NO_SUCH_OBJECT = 0, 4, 32


class Groups:
    """The groups of a domain of which a user must be in one. For any number of threads.

    Args:
        required: Their DNs.
        base: The DN below which other groups may stand between them and a user.
        settings: The domain's settings.
        auto: Chooses how memberships are asked about, where the configuration does not.
        time_limit: Seconds that a server may search.
    """

    def __init__(
        self, required: list[DnTemplate], base: DnTemplate, settings: Domain, auto: Auto, time_limit: int
    ) -> None:
        self._required = required
        self._base = base
        self._settings = settings
        self._auto = auto
        self._time_limit = time_limit

    def include(self, connection: Connection, user: User, dn: str, deadline: Deadline) -> bool:
        """Whether the user's entry is in one of the groups, or in a group that is.

        Args:
            connection: Where, with the rights to read the groups, or for `memberOf` the user's entry.
            user: Whose entry it is, for the placeholders in the groups' DNs.
            dn: The entry.
            deadline: By when.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted, which is never a no.
        """
        membership = self._auto.membership(connection, deadline)
        groups = [group.fill(user) for group in self._required]
        if membership in ("memberOf", "chain"):
            asked = _any_of([_member_of(group, in_chain=membership == "chain") for group in groups])
            return bool(self._of_user(connection, dn, asked, deadline))
        if membership == "memberUid":
            return self._hold(connection, groups, self._by_name(connection, dn, deadline), deadline)
        return self._follow(connection, groups, membership, self._base.fill(user), dn, deadline)

    def _follow(  # noqa: PLR0913, PLR0917 - a search and what it begins with
        self, connection: Connection, groups: list[str], membership: Membership, base: str, dn: str, deadline: Deadline
    ) -> bool:
        """Whether one of the groups holds the entry, or a group that does, or one that holds that one, and so on."""
        members, seen = [dn], {dn}
        for _ in range(DEEPEST):
            holding = _any_of([wire.equality(membership, wire.encoded_dn(member)) for member in members])
            if self._hold(connection, groups, holding, deadline):
                return True
            found = self._search(connection, base, "sub", holding, deadline)
            members = [entry.dn for entry in found if entry.dn not in seen]  # groups may hold each other
            if not members:
                return False
            seen.update(members)
        return False

    def _hold(self, connection: Connection, groups: list[str], holding: bytes, deadline: Deadline) -> bool:
        """Whether a filter matches one of the groups."""
        return any(self._search(connection, group, "base", holding, deadline) for group in groups)

    def _by_name(self, connection: Connection, dn: str, deadline: Deadline) -> bytes:
        """The filter for groups that hold the entry by its login name. Source: RFC 2307 3."""
        entries = self._of_user(connection, dn, ANY_OBJECT, deadline)
        names = entries[0].attributes.get("uid", []) if entries else []
        if not names:
            raise UnclearAnswer(f"{connection.server}: the service account may not read uid of whom it finds")
        return _any_of([wire.equality("memberUid", name) for name in names])

    def _of_user(self, connection: Connection, dn: str, asked: bytes, deadline: Deadline) -> list[wire.Entry]:
        """The user's entry with its uid, if a filter matches it; no message names it: the log may hide users."""
        query = wire.Search(wire.encoded_dn(dn), "base", ("uid",), 1, self._time_limit)
        entries, result = connection.search(query, asked, deadline)
        if result.code != _SUCCESS:
            raise UnclearAnswer(
                f"{connection.server}: the user's entry can't be asked for its groups (result {result.code})"
            )
        return entries

    def _search(
        self, connection: Connection, base: str, scope: str, asked: bytes, deadline: Deadline
    ) -> list[wire.Entry]:
        """The groups that a filter matches."""
        query = wire.Search(wire.encoded_dn(base), scope, ("1.1",), MOST, self._time_limit)
        entries, result = connection.search(query, asked, deadline)
        if result.code == _NO_SUCH_OBJECT:
            raise UnclearAnswer(
                f"{connection.server}: there is no {base}, or the service account may not see it (result 32):"
                " see required_groups and group_base_dn"
            )
        if result.code == _SIZE_LIMIT_EXCEEDED:
            raise UnclearAnswer(f"{connection.server}: there are too many groups below {base} that could count")
        if result.code != _SUCCESS:
            raise UnclearAnswer(f"{connection.server}: the groups can't be asked about ({said(result)})")
        return entries


def above(dns: list[str]) -> str:
    """The DN of the entry above all of these, but for none of them; empty if that is the root.

    >>> above(["cn=chat,ou=groups,dc=example,dc=com", "cn=staff,ou=groups,dc=example,dc=com"])
    'ou=groups,dc=example,dc=com'
    """
    upwards = [re.findall(r"(?:\\.|[^\\,])+", dn)[:0:-1] for dn in dns]
    common = []
    for rdns in zip(*upwards, strict=False):
        if len({rdn.strip().lower() for rdn in rdns}) > 1:
            break
        common.append(rdns[0].strip())
    return ",".join(reversed(common))


def _any_of(filters: list[bytes]) -> bytes:
    """Source: RFC 4511 4.5.1.7."""
    return filters[0] if len(filters) == 1 else wire.tlv(wire.OR, b"".join(filters))


def _member_of(group: str, *, in_chain: bool) -> bytes:
    """The filter for entries that say that they are in a group."""
    if not in_chain:
        return wire.equality("memberOf", wire.encoded_dn(group))
    rule, attribute = wire.tlv(0x81, _IN_CHAIN), wire.tlv(0x82, b"memberOf")
    return wire.tlv(wire.EXTENSIBLE, rule + attribute + wire.tlv(0x83, wire.encoded_dn(group)))
