"""How a directory takes a new password, and what its refusal of a change means.

Three ways: LDAP modify, RFC 3062, and Active Directory's. Owns how each is done over ldap3, and which exception a
result code is; why a password is not taken is `complaint.py`'s. Knows no users and no connections of its own.
"""

import re
from typing import Any

import ldap3

from ldapauth.deadline import Deadline
from ldapauth.errors import ChangeRefused, NoSuchUser, NotAllowed, PolicyRefusal, UnclearAnswer, UserExists
from ldapauth.kinds import Way

from . import complaint, policy
from .connection import Connection

# As ldap3 takes them: the OID, whether it is critical, the value.
POLICY = (policy.OID, False, None)
# LDAP_SERVER_POLICY_HINTS, [MS-ADTS] 3.1.1.3.4.1.27: what a service account does is a reset, for which only this has
# the last passwords looked at, as for a change by the user. The value is a sequence of the number 1.
_POLICY_HINTS = ("1.2.840.113556.1.4.2239", False, b"\x30\x84\x00\x00\x00\x03\x02\x01\x01")

# RFC 4511 appendix A.2
_NO_SUCH_OBJECT, _ENTRY_EXISTS = 32, 68
_RIGHTS = {50: "insufficient access rights", 8: "stronger authentication required", 13: "confidentiality required"}
_POLICY_CODES = {19: "constraint violation", 53: "unwilling to perform"}
_MALFORMED = {17, 20, 21, 34, 64, 65, 69}  # a name or value that the directory's schema has no room for


def replace(connection: Connection, way: Way, dn: str, password: str, deadline: Deadline) -> None:
    """Sets the password of an entry; it must not be empty (RFC 3062: the server would choose one).

    Args:
        connection: Where; for `ad` one that nobody can listen on.
        way: How.
        dn: The entry.
        password: The new password.
        deadline: By when.

    Raises:
        ChangeRefused: See `check`.
        DirectoryUnavailable: The server can't be asked.
    """
    demand_plain(way, password)

    def change(borrowed: Any) -> Any:
        if way == "extended":
            encoded = password.encode()
            borrowed.extend.standard.modify_password(user=dn, new_password=encoded, controls=[POLICY])
            return borrowed.result
        attribute, value = stored(way, password)
        changes = {attribute: [(ldap3.MODIFY_REPLACE, [value])]}
        return borrowed.modify(dn, changes, controls=[_POLICY_HINTS if way == "ad" else POLICY])[1]

    check(connection, connection.rare(change, deadline), password=True)


def stored(way: Way, password: str) -> tuple[str, bytes]:
    """The attribute and value that a password is in an LDAP modify or add; not for `extended`."""
    if way == "ad":  # [MS-ADTS] 3.1.1.3.1.5.1: in quotation marks, whatever is between them, in UTF-16
        return "unicodePwd", f'"{password}"'.encode("utf-16-le")
    return "userPassword", password.encode()


def demand_plain(way: Way, password: str) -> None:
    """Refuses a password that `modify` would store as somebody's hash of another one.

    Raises:
        PolicyRefusal: It begins with a scheme in braces (RFC 3112, and every server's own).
    """
    if way == "modify" and re.match(r"\{[^{}]*\}", password):
        raise PolicyRefusal("the password begins with a word in braces, which the directory would take for a hash")


def demand_private(connection: Connection, way: Way, *, start_tls: bool) -> None:
    """Refuses to give Active Directory a password over a connection on which it takes none.

    Args:
        connection: The connection.
        way: How the password would be given.
        start_tls: Whether `ldap://` connections have TLS.

    Raises:
        NotAllowed: There is no TLS.
    """
    if way == "ad" and connection.server.scheme == "ldap" and not start_tls:
        raise NotAllowed("Active Directory takes a new password over TLS only: use ldaps://, or start_tls = true")


def check(connection: Connection, result: dict[str, Any], *, password: bool = False) -> None:
    """Raises what a result of a change means, unless it is success. The server's words are never passed on.

    Args:
        connection: Which server said it.
        result: What ldap3 makes of the answer.
        password: Whether a password was to be set, alone or with an entry.

    Raises:
        ChangeRefused: The entry is not there or is there already, rights are missing, or the policy says no.
        UnclearAnswer: Anything else, referrals included: they are not followed.
    """
    code = result["result"]
    if code == 0:
        return
    refusal = _refusal(code, _complaint(result) if password else None)
    if refusal:
        raise refusal
    raise UnclearAnswer(f"{connection.server}: the change was not made (result {code})")


def _complaint(result: dict[str, Any]) -> str | None:
    """Why the directory does not take the password, if it says so and is understood."""
    found = {oid: control["value"] for oid, control in (result.get("controls") or {}).items()}
    # Of some controls ldap3 makes something else; none of ours.
    controls = {oid: value for oid, value in found.items() if isinstance(value, bytes)}
    return complaint.sentence(str(result.get("message") or ""), controls)


def _refusal(code: int, why: str | None) -> ChangeRefused | None:
    """The refusal that a result code means."""
    if code == _NO_SUCH_OBJECT:
        return NoSuchUser("the entry is not there")
    if code == _ENTRY_EXISTS:
        return UserExists("the entry is there already")
    if code in _RIGHTS:
        return NotAllowed(f"the directory does not let the service account do this ({_RIGHTS[code]})")
    if code in _POLICY_CODES:
        return PolicyRefusal(why or f"the directory's policy refuses it ({_POLICY_CODES[code]})")
    if code in _MALFORMED:
        return NotAllowed(f"the directory's schema does not allow it (result {code})")
    return None
