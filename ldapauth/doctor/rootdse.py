"""What follows from what a server says of itself: who made it, how it takes new passwords, what time it is there."""

import datetime as dt
import re
from collections.abc import Iterator

from ldapauth.config import Operation
from ldapauth.directory.auto import Auto
from ldapauth.kinds import RFC_3062

from .finding import Finding, not_asked, ok, problem, warning
from .patient import Patient
from .server import Vendor, first_of

_START_TLS = "1.3.6.1.4.1.1466.20037"  # RFC 4511 4.14.1
_PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # noqa: S105 - draft-behera-ldap-password-policy-10 6.1

_OFFERS = {
    "StartTLS": _START_TLS,
    "password modify (RFC 3062)": RFC_3062,
    "password policy control": _PASSWORD_POLICY,
}

_WITH_PASSWORDS: set[Operation] = {"set_password", "register"}

_CLOCKS = {
    Vendor.DS389: ("cn=monitor", "currentTime"),
    Vendor.OPENLDAP: ("cn=Current,cn=Time,cn=Monitor", "monitorTimestamp"),
}
"""Where a clock is that may be read, by vendor; often it may not."""

SKEW = 60.0
"""Seconds between two clocks that are worth a warning."""


def kind(patient: Patient) -> Iterator[Finding]:
    """Who made the server, and what it offers."""
    root = patient.root_dse()
    made = {Vendor.ACTIVE_DIRECTORY: "an Active Directory", Vendor.OPENLDAP: "OpenLDAP"}.get(root.vendor, "")
    yield ok(" by ".join(filter(None, (made, root.name))) or "a server that does not say who made it")
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
    way = Auto(settings).password_change(patient.connection(bound=False), patient.limit())
    if way == "extended" and RFC_3062 not in root.offered:
        yield problem(
            'password_change = "extended", which the server does not offer (RFC 3062)',
            'set password_change = "auto", or have the server offer it',
        )
    elif way == "ad" and patient.server.scheme == "ldap" and patient.connection(bound=False).tls is None:
        yield problem(
            "an Active Directory takes a new password over TLS only, and this connection is in clear",
            "use ldaps:// or start_tls = true",
        )
    elif way == "extended" and root.vendor is Vendor.DS389 and patient.connection(bound=False).tls is None:
        yield problem(
            "389 Directory Server takes a new password by RFC 3062 over TLS only, and this connection is in clear",
            'use ldaps:// or start_tls = true, or set password_change = "modify": it hashes that too',
        )
    elif way == "modify" and root.vendor is not Vendor.DS389:  # which hashes whatever comes
        text = "a new password replaces userPassword as it is: nothing says that the server hashes it"
        if RFC_3062 in root.offered:
            yield warning(text, 'set password_change = "auto": the server offers RFC 3062, which hashes')
        else:
            yield warning(
                text,
                "see that it does (OpenLDAP: ppolicy_hash_cleartext): a stored one begins with its scheme in braces",
            )
    else:
        yield ok(f"a new password is set by {'RFC 3062' if way == 'extended' else way}, and the server hashes it")


def clock(patient: Patient) -> Iterator[Finding]:
    """How far apart this machine's clock and the server's are, where the server shows its own."""
    root = patient.root_dse()
    text, place = root.time, _CLOCKS.get(root.vendor)
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
