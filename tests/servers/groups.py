"""The groups of the test directories: who is in them, and which groups are in which."""

from collections.abc import Callable, Iterable

from tests.servers import ldif
from tests.servers.people import PEOPLE_WITH_ODD_NAMES, Person, person

# A name that breaks careless code, in a filter and in a distinguished name.
ODD = "Odd, (all) *"

# Who is in which group, by login name or by the name of a group; a group comes before the one that it is in.
NESTED: dict[str, list[str]] = {
    "cellar": ["romeo"],
    "floor": ["cellar"],
    "house": ["floor", "juliet"],
    ODD: [who.uid for who in PEOPLE_WITH_ODD_NAMES],
}
# Two groups that are in each other.
RING: dict[str, list[str]] = {"ring": ["circle", "form"], "circle": ["ring"]}
# A group that knows its members by their login names.
POSIX = "posix"
POSIX_MEMBERS = ["juliet", "d'artagnan"]


def dn(name: str, suffix: str, unit: str = "ou=groups") -> str:
    """The distinguished name of a group; those with `uniqueMember` are in the unit `ou=unique,ou=groups`."""
    return f"cn={ldif.escape_rdn_value(name)},{unit},{suffix}"


class Groups:
    """The groups of one server, as LDIF that adds them to it while it runs.

    Args:
        suffix: Below it is `ou=groups`.
        people: Who is there.
        dn_of: Gives a person's distinguished name.
    """

    def __init__(self, suffix: str, people: Iterable[Person], dn_of: Callable[[Person], str]) -> None:
        self._suffix = suffix
        self._uids = {who.uid for who in people}
        self._dn_of = dn_of

    def of_an_active_directory(self) -> str:
        """Groups with `member`."""
        return _unit(f"ou=groups,{self._suffix}") + self._with_members("group", lambda name: f"group {name[:3]}")

    def of_others(self) -> str:
        """Groups with `member`, with `uniqueMember`, and with `memberUid`."""
        unit = "ou=unique,ou=groups"
        unique = [
            self._group(name, "groupOfUniqueNames", "uniqueMember", members, unit) for name, members in NESTED.items()
        ]
        posix = [("objectClass", "posixGroup"), ("cn", POSIX), ("gidNumber", "1000")]
        posix += [("memberUid", uid) for uid in POSIX_MEMBERS]
        return "".join(
            [
                _unit(f"ou=groups,{self._suffix}"),
                self._with_members("groupOfNames"),
                _unit(f"{unit},{self._suffix}"),
                *unique,
                _added(dn(POSIX, self._suffix), posix),
            ]
        )

    def _with_members(self, kind: str, account: Callable[[str], str] | None = None) -> str:
        """Groups with `member`; one can't name another before that is there, so the ring is closed in the end."""
        ring = {name: [uid for uid in members if uid not in RING] for name, members in RING.items()}
        open_ring = {name: members or ["form"] for name, members in ring.items()}
        parts = [
            self._group(name, kind, "member", members, account=account)
            for name, members in (NESTED | open_ring).items()
        ]
        for name, members in RING.items():
            values = "".join(ldif.line("member", self._member(other, "ou=groups")) for other in members)
            parts.append(f"{ldif.line('dn', dn(name, self._suffix))}changetype: modify\nreplace: member\n{values}\n")
        return "".join(parts)

    def _group(
        self,
        name: str,
        kind: str,
        attribute: str,
        members: list[str],
        unit: str = "ou=groups",
        *,
        account: Callable[[str], str] | None = None,
    ) -> str:
        here = [member for member in members if member in self._uids or member in NESTED]
        more = [("sAMAccountName", account(name))] if account else []
        values = [(attribute, self._member(member, unit)) for member in here]
        return _added(dn(name, self._suffix, unit), [("objectClass", kind), ("cn", name), *more, *values])

    def _member(self, name: str, unit: str) -> str:
        if name in NESTED or name in RING:
            return dn(name, self._suffix, unit)
        return self._dn_of(person(name))


def _unit(place: str) -> str:
    return _added(place, [("objectClass", "organizationalUnit")])


def _added(place: str, attributes: list[tuple[str, str]]) -> str:
    return ldif.entry(place, [("changetype", "add"), *attributes])
