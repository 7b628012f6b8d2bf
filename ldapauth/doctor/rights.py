"""Whether the service account may write what `operations` need, found out without writing anything.

389 Directory Server tells the rights of whoever asks on an entry; an Active Directory tells which classes may be added.
OpenLDAP tells nothing, but asks for the right before it looks whether the change can be made: so it is asked to take a
password from an entry that the entry does not have, which nothing can come of. The like for adding and deleting would
come of it, if whatever stands in between lost the control that prevents it; so it is not tried.
"""

import re
import secrets
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from ldapauth.config import Operation
from ldapauth.directory import wire
from ldapauth.directory.query import DnTemplate
from ldapauth.kinds import KINDS, Name

from .finding import Finding, NotAsked, not_asked, ok, problem
from .patient import Patient
from .people import nobody, parent
from .server import first_of, values_of

_WRITING: tuple[Operation, ...] = ("set_password", "register", "remove_user")

_RIGHTS_OF = "1.3.6.1.4.1.42.2.27.9.5.2"  # draft-ietf-ldapext-acl-model-08: the control that asks for effective rights

# RFC 4511 appendix A.2
_NO_SUCH_ATTRIBUTE = 16
_NO_RIGHT = {8, 13, 50}

_NEEDED = {
    "set_password": "write userPassword",
    "register": "add an entry",
    "remove_user": "delete an entry",
}


_SLAPACL = {"set_password": "userPassword/write", "register": "children/add", "remove_user": "entry/delete"}


def write(patient: Patient) -> Iterator[Finding]:
    """Whether the service account may do what XMPP users may ask for."""
    asked = [operation for operation in _WRITING if operation in patient.settings.operations]
    if "remove_user" in asked and patient.settings.remove == "disable":
        asked.remove("remove_user")
        yield not_asked("remove_user: whether the service account may switch accounts off")
    if not asked:
        return
    patient.demand_base()
    if patient.sample is None:
        raise NotAsked("whether the service account may write: no entry was found to ask about")
    dn, kind = patient.sample.dn, patient.root_dse().kind
    told = _WAYS[kind](patient, dn) if kind in _WAYS else {}
    for operation in asked:
        needed, may = _needed(operation, kind), told.get(operation)
        if may is None:
            text = f"whether the service account may {needed}: the server does not tell without doing it"
            yield not_asked(f"{operation}: {text}", _by_hand(patient, operation, kind, dn))
        elif may:
            yield ok(f"{operation}: the service account may {needed}")
        else:
            who = patient.settings.bind_dn or "a service account (bind_dn)"
            yield problem(
                f"{operation}: the service account may not {needed} (asked about {dn})",
                f"give {who} the right to {needed}, or take {operation} out of operations",
            )


def _needed(operation: Operation, kind: Name) -> str:
    """The right that an operation needs; in an Active Directory a reset is one of its own, apart from writing."""
    if operation == "set_password" and kind == "active-directory":
        return "reset a password"
    return _NEEDED[operation]


def _by_hand(patient: Patient, operation: Operation, kind: Name, dn: str) -> str:
    """How an administrator of the server finds out."""
    who = patient.settings.bind_dn
    if who is None:
        return "a service account (bind_dn) is needed to write"
    if operation == "register":
        dn = _new_parent(patient)
    if kind == "openldap":
        return f"on the server: {shlex.join(['slapacl', '-D', who, '-b', dn, _SLAPACL[operation]])}"
    if kind == "active-directory":
        return f"on a domain controller: {shlex.join(['dsacls', dn])}"
    return "ask whoever looks after the directory"


def _new_parent(patient: Patient) -> str:
    """The DN below which a new account is made."""
    settings = patient.settings
    template = settings.register.dn or (None if settings.is_searched else settings.user_dn)
    user = nobody(patient.case.domain)
    if template is None:
        return DnTemplate(settings.searches()[0].base_dn).fill(user)
    return parent(DnTemplate(template).fill(user))


def _openldap(patient: Patient, dn: str) -> dict[Operation, bool]:
    """Asks to take a password away that the entry does not have: without the right to that is not even looked at."""
    absent = secrets.token_hex(16).encode()

    def ask(ldap: Any) -> int:
        return int(ldap.modify(dn, {"userPassword": [("MODIFY_DELETE", [absent])]})[1]["result"])

    code = patient.connection().rare(ask, patient.limit())
    if code == _NO_SUCH_ATTRIBUTE:
        return {"set_password": True}
    return {"set_password": False} if code in _NO_RIGHT else {}


def _ds389(patient: Patient, dn: str) -> dict[Operation, bool]:
    """Asks for the effective rights: `vadn` on the entry (view, add, delete, rename), `w` and `o` on its password."""
    if patient.settings.bind_dn is None:
        return {}
    control = (_RIGHTS_OF, True, f"dn:{patient.settings.bind_dn}".encode())

    def ask(ldap: Any) -> Any:
        return ldap.search(dn, "(objectClass=*)", "BASE", attributes=["userPassword"], controls=[control])

    _, _, response, _ = patient.connection().rare(ask, patient.limit())
    for item in response or ():
        shown = wire.Entry(0, dn, dict(item.get("raw_attributes", {})))
        entry = first_of(shown, "entryLevelRights")
        password = re.search(r"\buserPassword:(\w+)", first_of(shown, "attributeLevelRights"), re.IGNORECASE)
        if entry and password:
            may_set = {"w", "o"} <= set(password[1])
            return {"set_password": may_set, "register": "a" in entry, "remove_user": "d" in entry}
    return {}


def _active_directory(patient: Patient, _: str) -> dict[Operation, bool]:
    """Asks which classes may be added. Source: [MS-ADTS] 3.1.1.4.5.20."""
    answer = patient.read(_new_parent(patient), "allowedChildClassesEffective")
    if not answer.entries or "register" not in patient.settings.operations:
        return {}
    allowed = {name.lower() for name in values_of(answer.entries[0], "allowedChildClassesEffective")}
    classes = patient.settings.register.object_classes or KINDS["active-directory"].object_classes
    return {"register": bool(allowed & {name.lower() for name in classes})}


_WAYS: dict[Name, Callable[[Patient, str], dict[Operation, bool]]] = {
    "openldap": _openldap,
    "389ds": _ds389,
    "freeipa": _ds389,
    "active-directory": _active_directory,
}
