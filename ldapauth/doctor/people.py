"""Whether people can be found: the base DN, the filter and how long it takes, size limits, and what may be read.

The searches are those of a login, for a name that nobody has, and one for whoever the filter could find.
"""

import dataclasses
import math
import re
import secrets
from collections.abc import Iterator
from typing import Any

from ldapauth.config import Domain, Search
from ldapauth.directory import CERTIFICATES, User, wire
from ldapauth.directory.query import DnTemplate, FilterTemplate, Template
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable
from ldapauth.kinds import KINDS

from .finding import Finding, Mark, NotAsked, not_asked, ok, problem, warning
from .network import milliseconds
from .patient import ANY_OBJECT, Patient, equal, present, said
from .server import first_of, values_of

# RFC 4511 appendix A.2
_SUCCESS, _TIME_LIMIT, _SIZE_LIMIT, _ADMIN_LIMIT, _UNWILLING = 0, 3, 4, 11, 53
_NO_SUCH_OBJECT, _REFERRAL = 32, 10

SLOW, JITTER = 0.0005, 0.1
"""Seconds by which a search takes longer than reading one entry, where it looks through entries instead of an index; or
this share of the reading, if that is more, for a network whose times differ by themselves. With an index there is no
such difference; without one slapd looks through 1,000 to 2,500 entries in half a millisecond."""

PATIENCE = 0.02
"""Seconds of that kind that are worth a warning although no attribute is to blame."""

ROUNDS, CLEARLY = 7, 0.1
"""How often something is timed, as long as it is slow: one time that is fast says that it can be. What takes so many
seconds longer need not be asked so often: it is work for the server."""

_INDEXED = 1  # searchFlags, [MS-ADTS] 2.2.10


@dataclasses.dataclass(frozen=True, slots=True)
class _People:
    """A place where a domain's people are.

    Attributes:
        base: The DN below which they are.
        scope: How far below.
        naming: The attributes of which one must hold the name.
        attributes: All attributes that an entry must show, those included.
        anybody: A filter for all of them, as text.
        search: The filter for one of them; None where no search is needed.
    """

    base: str
    scope: str
    naming: tuple[str, ...]
    attributes: tuple[str, ...]
    anybody: str
    search: FilterTemplate | None


def nobody(domain: str) -> User:
    """A user that there is not."""
    return User(f"no-such-user-{secrets.token_hex(8)}", domain or "example.invalid")


def parent(dn: str) -> str:
    """The DN above."""
    return re.split(r"(?<!\\),", dn, maxsplit=1)[1] if re.search(r"(?<!\\),", dn) else ""


def anybody(text: str, domain: str) -> str:
    r"""A filter without what names the user in it: each comparison with `{user}` asks for any value instead.

    A value has no parentheses of its own in it (RFC 4515 3: they are written as `\28` and `\29`).
    """
    text = re.sub(r"\(\s*([A-Za-z0-9.;-]+)[^()=]*=[^()]*\{user\}[^()]*\)", r"(\1=*)", text)
    for name in ("domain", "dc"):
        value = Template(f"{{{name}}}").fill(User("", domain))
        text = text.replace(f"{{{name}}}", "".join(f"\\{byte:02x}" for byte in value.encode()))
    return text


def _places(patient: Patient) -> list[_People]:
    """Where this domain's people are.

    Raises:
        NotAsked: That depends on a domain that was not named.
    """
    settings = patient.settings
    if settings.is_searched:
        return [_place(patient, place) for place in settings.searches()]
    template = DnTemplate(settings.user_dn or "")
    _demand_domain(patient, template)
    naming = tuple(dict.fromkeys(name for name, _ in template.naming()))
    base = parent(template.fill(nobody(patient.case.domain)))
    return [_People(base, "one", naming, naming, f"({naming[0]}=*)", None)]


def _place(patient: Patient, place: Search) -> _People:
    user, template = nobody(patient.case.domain), DnTemplate(place.base_dn)
    _demand_domain(patient, template)
    text = place.filter if place.filter is not None else KINDS[patient.root_dse().kind].filter
    search = FilterTemplate(text)
    naming = tuple(dict.fromkeys(name for name, _ in search.naming))
    everybody = anybody(text, user.domain)
    return _People(template.fill(user), place.scope, naming, tuple(search.attributes), everybody, search)


def _demand_domain(patient: Patient, template: DnTemplate) -> None:
    if not patient.case.domain and ("domain" in template or "dc" in template):
        raise NotAsked("what is below the base DN: it depends on the domain, so name one: ldapauth doctor DOMAIN")


def _reads_nothing(settings: Domain) -> bool:
    """Whether there is nothing that would have to be read: users bind at once, and nobody asks for more."""
    return settings.user_dn is not None and settings.bind_dn is None and settings.operations == ("check_password",)


def base(patient: Patient) -> Iterator[Finding]:
    """Whether the base DN is there, for the service account to see."""
    if _reads_nothing(patient.settings):
        patient.baseless = "what is in the directory: users bind at once, and nothing is looked up"
        raise NotAsked(patient.baseless)
    patient.connection()
    patient.baseless = "the base DN can't be read"
    found = [finding for where in _places(patient) for finding in _base(patient, where)]
    if all(finding.mark is Mark.OK for finding in found):
        patient.baseless = ""
    yield from found


def _base(patient: Patient, where: _People) -> Iterator[Finding]:
    if not where.base:
        yield ok("the base DN is the root of the directory")
        return
    answer = patient.read(where.base, "1.1")
    if answer.result.code == _SUCCESS and answer.entries:
        yield ok(f"{where.base} is there")
    elif answer.result.code == _REFERRAL:
        yield problem(
            f"{where.base} is on another server, to which this one refers (result 10)",
            f"name that server in servers, since referrals are not followed: {', '.join(answer.result.referrals)}",
        )
    else:
        setting = "base_dn" if patient.settings.is_searched else "user_dn"
        hidden = "the service account may not see it" if patient.case.account else "nobody may see it without a bind_dn"
        yield problem(
            f"there is no {where.base}, or {hidden} ({said(answer.result)})",
            f"correct {setting}{_there(patient, answer.result)}, or let the service account see it",
        )


def _there(patient: Patient, result: wire.Result) -> str:
    """What there is instead of a base DN, if anything says so."""
    if result.matched_dn:
        return f" (there is {result.matched_dn})"
    try:
        contexts = patient.root_dse().contexts
    except (NotAsked, DirectoryUnavailable):
        return ""
    return f" (the server has {', '.join(contexts[:3])})" if contexts else ""


def search(patient: Patient) -> Iterator[Finding]:
    """How long a search by the filter takes, and whether an index is missing."""
    if not patient.settings.is_searched:
        return
    patient.demand_base()
    for where in _places(patient):
        yield from _search(patient, where)


def _search(patient: Patient, where: _People) -> Iterator[Finding]:
    assert where.search is not None  # noqa: S101 - for the type checker: without user_dn there is a filter
    search_filter = where.search.encode(nobody(patient.case.domain))
    yield from _without_index(patient, where)
    try:
        answer = patient.search(patient.query(where.base, where.scope, *where.naming), search_filter)
    except DeadlineExceeded:
        text = f"a search by the filter takes longer than the deadline of {patient.settings.deadline:g} seconds"
        yield problem(
            text, f"index {' and '.join(where.naming)} for equality; if that is so, see the rest of the filter"
        )
        return
    if answer.entries:
        yield problem(
            f"the filter finds an entry for a name that nobody has: {answer.entries[0].dn}",
            "see that no part of it matches whoever asks, as in (|(uid={user})(objectClass=person))",
        )
    elif answer.result.code in (_ADMIN_LIMIT, _UNWILLING, _TIME_LIMIT):
        yield problem(
            f"a search by the filter looks through more entries than the server allows ({said(answer.result)})",
            f"index {' and '.join(where.naming)} for equality there",
        )
    elif answer.result.code != _SUCCESS:
        yield problem(f"the search by the filter failed ({said(answer.result)})", "see the server's log")
    else:
        yield from _timed(patient, where, search_filter)


def _timed(patient: Patient, where: _People, search_filter: bytes) -> Iterator[Finding]:
    """What the time of a search by the filter says."""
    one = min(patient.read(where.base, "1.1").seconds for _ in range(ROUNDS))
    whole = _fastest(patient, where, search_filter, one)
    text = f"a search by the filter takes {milliseconds(whole)}, reading one entry {milliseconds(one)}"
    if not _is_slow(whole, one):
        yield ok(text)
        return
    random = nobody("").name
    slow = [name for name in where.naming if _is_slow(_fastest(patient, where, equal(name, random), one), one)]
    if slow:
        names = " and ".join(slow)
        remedy = f"index {names} for equality (OpenLDAP: olcDbIndex: {','.join(slow)} eq)"
        yield warning(f"{text}: {names} {'has' if len(slow) == 1 else 'have'} no index, it seems", remedy)
    elif whole - one >= PATIENCE:
        others = [name for name in where.attributes if name not in where.naming]
        yield warning(
            f"{text}, although looking for the name alone is fast",
            f"see what takes long in the rest of the filter: {', '.join(others) or 'its negated parts'}",
        )
    else:
        yield ok(text)


def _fastest(patient: Patient, where: _People, search_filter: bytes, one: float) -> float:
    """The least seconds that a search has taken, of some, or of one that is fast."""
    best, query = math.inf, patient.query(where.base, where.scope, "1.1")
    for _ in range(ROUNDS):
        best = min(best, patient.search(query, search_filter).seconds)
        if not _is_slow(best, one) or best - one >= CLEARLY:
            break
    return best


def _is_slow(seconds: float, one: float) -> bool:
    """Whether a search that takes so long does without an index, where reading one entry takes that long."""
    return seconds - one >= max(SLOW, one * JITTER)


def _without_index(patient: Patient, where: _People) -> Iterator[Finding]:
    """Which attributes have no index, where the server says so: an Active Directory, in its schema."""
    try:
        root = patient.root_dse()
    except NotAsked:
        return
    if root.kind != "active-directory":
        return
    for name in where.naming:
        answer = patient.search(patient.query(root.schema, "one", "searchFlags"), equal("lDAPDisplayName", name))
        flags = first_of(answer.entries[0], "searchFlags") if answer.entries else ""
        if flags.isdecimal() and not int(flags) & _INDEXED:
            yield warning(
                f"{name} has no index: its searchFlags in the schema are {flags}",
                f"look for the user by one that has an index, as sAMAccountName has, or index {name} (searchFlags 1)",
            )


def sample(patient: Patient) -> Iterator[Finding]:
    """Whether the filter finds anybody, whether the names may be read, and how many entries the server gives."""
    patient.demand_base()
    for where in _places(patient):
        yield from _sample(patient, where)


def _sample(patient: Patient, where: _People) -> Iterator[Finding]:
    found, code = _anybody(patient, where)
    if found:
        patient.sample = patient.sample or found[0]
        yield from _limit(found, code)
        yield from _readable(where, found[0])
    elif code == _SUCCESS:
        yield from _why_nobody(patient, where)
    elif code in (_ADMIN_LIMIT, _TIME_LIMIT):
        yield not_asked(f"who there is: the server does not look through so many entries (result {code})")
    else:
        yield problem(f"the search for anybody failed (result {code})", "see the server's log")


def _anybody(patient: Patient, where: _People) -> tuple[list[wire.Entry], int]:
    """Two entries at most that the filter could find, with what is read of them; and the result code."""
    scope = {"base": "BASE", "one": "LEVEL", "sub": "SUBTREE"}[where.scope]
    wanted = [*where.naming, "userPassword", *CERTIFICATES]
    seconds = math.ceil(patient.settings.deadline)

    def ask(ldap: Any) -> Any:
        return ldap.search(where.base, where.anybody, scope, attributes=wanted, size_limit=2, time_limit=seconds)

    _, result, response, _ = patient.connection().rare(ask, patient.limit())
    found = [item for item in response or () if item["type"] == "searchResEntry"]
    return [wire.Entry(0, item["dn"], dict(item["raw_attributes"])) for item in found], int(result["result"])


def _limit(found: list[wire.Entry], code: int) -> Iterator[Finding]:
    if len(found) == 1 and code == _SIZE_LIMIT:
        yield problem(
            "the server gives this account no more than one entry, so that it can't be told whether there are two",
            "raise the size limit of the service account to 2 or more (OpenLDAP: olcLimits)",
        )
    else:
        yield ok(f"the filter finds people, {found[0].dn} for one, and the server shows as many as are needed")


def _readable(where: _People, entry: wire.Entry) -> Iterator[Finding]:
    """Whether what names the user may be read, and that the password may not."""
    if any(values_of(entry, name) for name in where.naming):
        yield ok(f"the service account may read {' or '.join(where.naming)}")
    else:
        yield problem(
            f"the service account may search by {' or '.join(where.naming)}, and not read it, so nobody is recognised",
            f"let it read {' and '.join(where.naming)} (OpenLDAP: access to attrs={','.join(where.naming)} by … read)",
        )
    passwords = values_of(entry, "userPassword")
    if any(not re.match(r"\{[^{}]+\}", password) for password in passwords):
        yield problem(
            f"userPassword of {entry.dn} is stored in clear, and the service account may read it",
            "have the server hash passwords, and let nobody read them",
        )
    elif passwords:
        yield warning("the service account may read userPassword, which it needs not", "let nobody read userPassword")


def _why_nobody(patient: Patient, where: _People) -> Iterator[Finding]:
    """Why nobody is found: nobody is seen, or not by what the filter asks for."""
    query = patient.query(where.base, where.scope, "1.1")
    seen = patient.search(query, ANY_OBJECT).entries
    if not [entry for entry in seen if entry.dn.lower() != where.base.lower()]:
        yield problem(
            f"the service account sees nobody below {where.base}",
            "let it search there, or correct base_dn and scope",
        )
        return
    hidden = [name for name in where.attributes if not patient.search(query, present(name)).entries]
    for name in hidden:
        yield problem(
            f"no entry below {where.base} shows {name}: none has it, or the service account may not search by it",
            f"let the service account search and read {name} (OpenLDAP: access to attrs={name} by … read), or ask for"
            " another attribute",
        )
    if not hidden:
        yield problem(
            f"the filter finds nobody below {where.base}, whatever the name",
            f"see which of its conditions no entry meets: {where.anybody}",
        )


def certificates(patient: Patient) -> Iterator[Finding]:
    """Whether certificates of users may be read, where `get_certs` is on."""
    if "get_certs" not in patient.settings.operations:
        return
    patient.demand_base()
    for where in _places(patient):
        yield from _certificates(patient, where)


def _certificates(patient: Patient, where: _People) -> Iterator[Finding]:
    answer = patient.search(patient.query(where.base, where.scope, *CERTIFICATES), present("userCertificate"))
    if not answer.entries:
        yield not_asked("whether userCertificate;binary may be read: no entry shows one")
    elif any(answer.entries[0].attributes.values()):
        yield ok("the service account may read userCertificate;binary")
    else:
        yield problem(
            "the service account may search by userCertificate, and not read it", "let it read userCertificate;binary"
        )
