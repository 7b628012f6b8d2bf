"""What follows from what a server says of itself: who made it, how it takes new passwords, what time it is there."""

import datetime as dt
import re
from collections.abc import Iterator

from ldapauth.config import Operation
from ldapauth.directory.auto import Auto
from ldapauth.kinds import RFC_3062, Name, Way

from .finding import Finding, not_asked, ok, problem, warning
from .patient import Patient
from .server import RootDse, first_of

_START_TLS = "1.3.6.1.4.1.1466.20037"  # RFC 4511 4.14.1
_PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # noqa: S105 - draft-behera-ldap-password-policy-10 6.1

_OFFERS = {
    "StartTLS": _START_TLS,
    "password modify (RFC 3062)": RFC_3062,
    "password policy control": _PASSWORD_POLICY,
}

_WORDS: dict[Way, str] = {"extended": "RFC 3062", "modify": "modify", "ad": "replacing unicodePwd"}
_WITH_PASSWORDS: set[Operation] = {"set_password", "register"}

_HASHING: set[Name] = {"389ds", "freeipa"}  # whatever replaces userPassword
_MADE: dict[Name, str] = {"active-directory": "an Active Directory", "openldap": "OpenLDAP", "freeipa": "FreeIPA"}

_CLOCKS: dict[Name, tuple[str, str]] = {
    "389ds": ("cn=monitor", "currentTime"),
    "freeipa": ("cn=monitor", "currentTime"),
    "openldap": ("cn=Current,cn=Time,cn=Monitor", "monitorTimestamp"),
}
"""Where a clock is that may be read, by the kind of directory; often it may not."""

SKEW = 60.0
"""Seconds between two clocks that are worth a warning."""


def kind(patient: Patient) -> Iterator[Finding]:
    """What kind of directory it is and whether the configuration says so too, and what it offers."""
    root, named = patient.root_dse(), patient.settings.directory
    made = " by ".join(filter(None, (_MADE.get(root.kind, ""), root.name))) or "a server that does not say who made it"
    if named in ("auto", root.kind):
        yield ok(made)
    else:
        yield warning(
            f'{made}, and directory is "{named}": its filter and its way of changing passwords are used',
            'set directory = "auto"' + ("" if root.kind == "other" else f', or "{root.kind}"'),
        )
    has = [word for word, oid in _OFFERS.items() if oid in root.offered]
    lacks = [word for word in _OFFERS if word not in has]
    offers = f"offers {', '.join(has)}" if has else "says nothing of what it offers"
    yield ok(offers + (f"; does not mention {', '.join(lacks)}" if lacks else ""))


def password_change(patient: Patient) -> Iterator[Finding]:
    """How a new password would be set, where one may be, and whether it could end up readable."""
    settings = patient.settings
    if not _WITH_PASSWORDS & set(settings.operations):
        return
    root = patient.root_dse()
    connection = patient.connection(bound=False)
    way = Auto(settings).password_change(connection, patient.limit())
    refused = _refused(way, root, in_clear=connection.tls is None and patient.server.scheme != "ldapi")
    if refused:
        yield problem(*refused)
    elif way == "modify" and root.kind not in _HASHING:
        text = "a new password replaces userPassword as it is: nothing says that the server hashes it"
        if RFC_3062 in root.offered:
            yield warning(text, 'set password_change = "auto": the server offers RFC 3062, which hashes')
        else:
            yield warning(
                text,
                "see that it does (OpenLDAP: ppolicy_hash_cleartext): a stored one begins with its scheme in braces",
            )
    else:
        yield ok(f"a new password is set by {_WORDS[way]}, and the server hashes it")


def _refused(way: Way, root: RootDse, *, in_clear: bool) -> tuple[str, str] | None:
    """Why no password can be set in a way, whatever the password, and what to do about it."""
    auto = 'set password_change = "auto"'
    if (way == "ad") is not (root.kind == "active-directory"):
        if way == "ad":
            return 'password_change = "ad", and the server is no Active Directory: it has no unicodePwd', auto
        return f'password_change = "{way}", by which an Active Directory takes no password', auto
    if way == "ad" and in_clear:
        text = "an Active Directory takes a new password over TLS only, and this connection is in clear"
        return text, "use ldaps:// or start_tls = true"
    if way == "extended" and RFC_3062 not in root.offered:
        return (
            "password_change is RFC 3062 (extended), which the server does not offer",
            f"{auto} and see that directory is right, or have the server offer it",
        )
    if way == "extended" and root.kind in _HASHING and in_clear:
        return (
            "389 Directory Server takes a new password by RFC 3062 over TLS only, and this connection is in clear",
            'use ldaps:// or start_tls = true, or set password_change = "modify": it hashes that too',
        )
    return None


def clock(patient: Patient) -> Iterator[Finding]:
    """How far apart this machine's clock and the server's are, where the server shows its own."""
    root = patient.root_dse()
    text, place = root.time, _CLOCKS.get(root.kind)
    if not text and place is not None:
        answer = patient.read(place[0], place[1], bound=False)
        text = first_of(answer.entries[0], place[1]) if answer.entries else ""
    theirs = _time(text)
    if theirs is None:
        yield not_asked("the server's clock: it does not show it", "compare by hand, or run NTP on both machines")
        return
    apart = abs((dt.datetime.now(dt.UTC) - theirs).total_seconds())
    if apart > SKEW:
        yield warning(
            f"the server's clock and this machine's are {apart:.0f} seconds apart", "run NTP on both machines"
        )
    else:
        yield ok("the server's clock and this machine's agree")


def _time(text: str) -> dt.datetime | None:
    """A moment of LDAP, in UTC. Source: RFC 4517 3.3.13, of which servers write only this form."""
    found = re.match(r"(\d{14})(?:[.,]\d+)?Z$", text)
    if found is None:
        return None
    try:
        return dt.datetime.strptime(f"{found[1]}+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
