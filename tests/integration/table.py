"""What the tests that run on every kind of directory share: the servers, the cases, and how a question is asked."""

from collections.abc import Callable
from typing import Any

import pytest

from ldapauth.deadline import Deadline
from ldapauth.provider import Provider
from ldapauth.verdict import Verdict
from tests.configuration import DOMAIN
from tests.servers.ds389 import Ds389
from tests.servers.people import PEOPLE, TWINS, Person, State
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd

AnyServer = Slapd | Ds389 | Samba
Make = Callable[..., Provider]

KINDS = {"slapd": "openldap", "ppolicy": "openldap", "ds389": "389ds", "samba": "active-directory"}
MARKS = {"samba": pytest.mark.samba, "ds389": pytest.mark.ds389}

# Names that are not quite those of juliet, j doe and josé.
ALIKE = ["juliet ", " juliet", r"juliet\20", r"\20juliet", "j  doe", r"j\20\20doe"]
FOLDED = ["jose", "jose\u0301", "jos\u00e9\u0301", "\uff4auliet", "ju\u00adliet", "juliet\u200b", "juliet\u3000"]

RIGHT = "Right-Guess-1"
NEW = ["Neue-Losung-2", "Ganz-Anders-3", 'Mit "Zeichen" & \u00dc\U0001f511-4']


def on(name: str, *values: Any) -> Any:
    """A case on a server, named by it and by what the case is about."""
    shown = (value.value if isinstance(value, State) else str(value) for value in values[:1])
    return pytest.param(name, *values, marks=MARKS.get(name, ()), id="-".join([name, *shown]))


EVERYWHERE = [on(name) for name in KINDS]


def login(provider: Provider, uid: str, password: str | None) -> Verdict:
    """The answer to a login."""
    assert password is not None
    return provider.check_password(uid, DOMAIN, password, Deadline.after(20))


def change(provider: Provider, uid: str, password: str) -> None:
    """Sets a password."""
    provider.set_password(uid, DOMAIN, password, Deadline.after(20))


def people(server: AnyServer) -> list[Person]:
    """Those with a name and a password of their own, whom this kind of directory can have."""
    if isinstance(server, Samba):
        return server.people
    return [who for who in PEOPLE if who not in TWINS and who.password is not None]
