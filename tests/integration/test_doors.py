"""The same questions through every door: HTTP, the generic line protocol and ejabberd's, on one real slapd."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest
from flask.testing import FlaskClient

from ldapauth import config
from ldapauth.frontends import http
from tests.configuration import CREDENTIALS, DOMAIN
from tests.frontends.programs import EJABBERD, GENERIC, PipeHelper, configure
from tests.servers.people import ORDINARY_PEOPLE, PEOPLE_DN, PEOPLE_WITH_ODD_NAMES, PEOPLE_WITH_ODD_PASSWORDS
from tests.servers.slapd import Slapd

DOORS = ["http", "generic", "ejabberd"]

# What the helpers and HTTP call the same question.
COMMANDS = {
    "check_password": "auth",
    "user_exists": "isuser",
    "set_password": "setpass",
    "register": "tryregister",
    "remove_user": "removeuser",
    "remove_user_validate": "removeuser3",
}
DONE = {"set_password": 204, "register": 201, "remove_user": 204, "remove_user_validate": 204}
REFUSED = {403, 404, 409}


@dataclass(frozen=True)
class Question:
    """A question, and the answer that every door must give; no password for a question that has none."""

    operation: str
    user: str
    password: str | None = None
    accepted: bool = False
    domain: str = DOMAIN


class Door(Protocol):
    """One way to ask."""

    def ask(self, question: Question) -> bool:
        """Whether the question is accepted."""


class HelperDoor:
    """A helper program."""

    def __init__(self, helper: PipeHelper) -> None:
        self._helper = helper

    def ask(self, question: Question) -> bool:
        """Whether the helper says yes."""
        fields = [COMMANDS[question.operation], question.user, question.domain]
        return self._helper.ask(":".join(fields if question.password is None else [*fields, question.password]))


class HttpDoor:
    """The HTTP app."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client

    def ask(self, question: Question) -> bool:
        """Whether the app says yes; any status but those for yes and no is an error."""
        headers = {"Authorization": f"Basic {base64.b64encode(CREDENTIALS.encode()).decode()}"}
        given = {"user": question.user, "server": question.domain, "pass": question.password or ""}
        path = f"/{question.operation}"
        if question.operation not in DONE:
            response = self._client.get(path, query_string=given, headers=headers)
            assert response.status_code == 200
            return {"true": True, "false": False}[response.text]
        response = self._client.post(path, data=given, headers=headers)
        assert response.status_code in REFUSED | {DONE[question.operation]}
        return response.status_code not in REFUSED


@pytest.fixture(scope="module")
def doors(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    """Every door to the directory."""
    path = configure(tmp_path_factory.mktemp("doors"), slapd)
    app = http.build(config.load(str(path)))
    with PipeHelper(GENERIC, path) as generic, PipeHelper(EJABBERD, path) as ejabberd:
        yield {"http": HttpDoor(app.test_client()), "generic": HelperDoor(generic), "ejabberd": HelperDoor(ejabberd)}


def escaped(name: str) -> str:
    """A name as an XMPP server sends it (XEP-0106), with every backslash escaped, which it need not be."""
    return "".join(rf"\{ord(character):02x}" if character in " \"&'/:<>@\\" else character for character in name)


def check(user: str, password: str | None, *, accepted: bool = False, domain: str = DOMAIN) -> Question:
    """The question whether this is the user's password."""
    return Question("check_password", user, password, accepted, domain)


def exists(user: str, *, accepted: bool = False, domain: str = DOMAIN) -> Question:
    """The question whether there is such a user."""
    return Question("user_exists", user, None, accepted, domain)


SECRET = "juliet-secret"
QUESTIONS = {
    **{f"right-{who.uid}": check(escaped(who.uid), who.password, accepted=True) for who in ORDINARY_PEOPLE},
    **{f"right-{who.uid}": check(escaped(who.uid), who.password, accepted=True) for who in PEOPLE_WITH_ODD_NAMES},
    **{f"right-{who.uid}": check(who.uid, who.password, accepted=True) for who in PEOPLE_WITH_ODD_PASSWORDS},
    **{f"wrong-{who.uid}": check(escaped(who.uid), SECRET) for who in PEOPLE_WITH_ODD_NAMES},
    **{f"exists-{who.uid}": exists(escaped(who.uid), accepted=True) for who in PEOPLE_WITH_ODD_NAMES},
    "name-not-escaped": check("d'artagnan", "dartagnan-secret", accepted=True),
    "name-not-escaped-space": check("j doe", "jdoe-secret", accepted=True),
    "name-upper-case": check("JULIET", SECRET, accepted=True),
    "name-not-quite": exists("julie"),
    "name-longer": exists("juliets"),
    "name-escaped-twice": exists(r"d\5c27artagnan"),
    "name-escaped-in-upper-case": exists(r"back\5Cslash"),
    "name-without-its-accent": check("jose", "jose-secret"),
    "name-decomposed": check("jose\u0301", "jose-secret"),
    "name-sharp-s": check("straße", "strasse-secret"),
    "name-full-width": check("\uff4auliet", SECRET),
    "password-wrong": check("juliet", "wrong"),
    "password-empty": check("juliet", ""),
    "password-of-another": check("juliet", "romeo-secret"),
    "password-cut": check("juliet", SECRET[:-1]),
    "password-longer": check("juliet", f"{SECRET}x"),
    "password-with-space-behind": check("juliet", f"{SECRET} "),
    "password-with-space-before": check("juliet", f" {SECRET}"),
    "password-with-return": check("juliet", f"{SECRET}\r"),
    "password-with-nul": check("juliet", f"{SECRET}\0"),
    "password-nul": check("juliet", "\0"),
    "password-upper-case": check("juliet", SECRET.upper()),
    "password-of-60-kB": check("juliet", "x" * 60_000),
    "unknown-user": check("nobody", SECRET),
    "unknown-user-exists": exists("nobody"),
    "unknown-user-empty-password": check("nobody", ""),
    "no-password": check("nopassword", "x"),
    "no-password-empty": check("nopassword", ""),
    "no-password-exists": exists("nopassword", accepted=True),
    "twin-a": check("twin", "twin-a-secret"),
    "twin-b": check("twin", "twin-b-secret"),
    "twin-exists": exists("twin"),
    "space-behind": check(r"juliet\20", SECRET),
    "space-behind-exists": exists(r"juliet\20"),
    "space-before": check(r"\20juliet", SECRET),
    "space-raw": check("juliet ", SECRET),
    "space-doubled": check(r"j\20\20doe", "jdoe-secret"),
    "space-alone": exists(r"\20"),
    "name-empty": check("", SECRET),
    "name-empty-exists": exists(""),
    "name-with-nul": check("juliet\0", SECRET),
    "name-with-tab": check("juliet\t", SECRET),
    "name-with-delete": check("juliet\x7f", SECRET),
    "name-of-1024-bytes": exists("x" * 1024),
    "name-of-1024-bytes-in-two-byte-characters": exists("é" * 512),
    "domain-unknown": check("juliet", SECRET, domain="example.net"),
    "domain-unknown-exists": exists("juliet", domain="example.net"),
    "domain-empty": check("juliet", SECRET, domain=""),
    "domain-upper-case": check("juliet", SECRET, domain="EXAMPLE.COM", accepted=True),
    "domain-with-dot": check("juliet", SECRET, domain="example.com."),
    "domain-with-space": check("juliet", SECRET, domain=" example.com"),
    "domain-below": check("juliet", SECRET, domain="muc.example.com"),
    "domain-star": check("juliet", SECRET, domain="*"),
    "injection-star": check("*", SECRET),
    "injection-star-exists": exists("*"),
    "injection-prefix": check("juli*", SECRET),
    "injection-filter": check("juliet)(uid=*", SECRET),
    "injection-or": exists("*)(|(uid=*"),
    "injection-escaped-star": exists(r"\2a"),
    "injection-escaped-backslash-star": exists(r"\5c2a"),
    "injection-escaped-letter": check(r"\6auliet", SECRET),
    "injection-dn": check("juliet,ou=people,dc=example,dc=com", SECRET),
    "injection-jid": check(r"juliet\40example.com", SECRET),
    "injection-of-the-service-account": check("xmpp", Slapd.service_password),
}

ODD = " pass:with:colons\t+&%é🔑 "
NEW_DN = f"uid=newcomer,{PEOPLE_DN}"
CHANGES = [
    Question("register", "newcomer", ""),
    Question("register", "newcomer", "new-secret", domain="example.net"),
    Question("set_password", "newcomer", "new-secret"),
    exists("newcomer"),
    Question("register", "newcomer", "new-secret", accepted=True),
    check("newcomer", "new-secret", accepted=True),
    exists("newcomer", accepted=True),
    Question("register", "newcomer", "other-secret"),
    Question("register", "NEWCOMER", "other-secret"),
    Question("register", r"newcomer\20", "other-secret"),
    check("newcomer", "other-secret"),
    check("newcomer", "new-secret", accepted=True),
    Question("set_password", "newcomer", ODD, accepted=True),
    check("newcomer", ODD, accepted=True),
    check("newcomer", ODD.strip()),
    check("newcomer", "new-secret"),
    Question("set_password", "newcomer", ""),
    Question("set_password", r"newcomer\20", "other-secret"),
    Question("set_password", "newcomer", "other-secret", domain="example.net"),
    Question("set_password", "newcomer", "==SCRAM==,x"),
    check("newcomer", ODD, accepted=True),
    Question("remove_user_validate", "newcomer", "wrong"),
    Question("remove_user_validate", "newcomer", ""),
    Question("remove_user_validate", r"newcomer\20", ODD),
    Question("remove_user", r"newcomer\20"),
    Question("remove_user", "newcomer", domain="example.net"),
    check("newcomer", ODD, accepted=True),
    Question("remove_user_validate", "newcomer", ODD, accepted=True),
    exists("newcomer"),
    check("newcomer", ODD),
    Question("remove_user", "newcomer"),
    Question("register", "newcomer", ODD, accepted=True),
    check("newcomer", ODD, accepted=True),
    Question("remove_user", "newcomer", accepted=True),
    exists("newcomer"),
    *(Question(operation, user, "x") for operation in ("set_password", "register") for user in ("twin", "", "\x7f")),
    *(Question("remove_user", user) for user in ("twin", "nobody", "*", "")),
    Question("register", "juliet", "other-secret"),
    check("juliet", SECRET, accepted=True),
]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_every_door_gives_the_same_answer(doors: dict[str, Door], question: Question) -> None:
    """A question has one answer, whichever way it is asked."""
    assert {name: door.ask(question) for name, door in doors.items()} == dict.fromkeys(DOORS, question.accepted)


@pytest.mark.parametrize("name", DOORS)
def test_every_door_makes_the_same_changes(doors: dict[str, Door], slapd: Slapd, name: str) -> None:
    """A user's way from the registration to the removal has the same outcomes through each door."""
    try:
        assert [question for question in CHANGES if doors[name].ask(question) is not question.accepted] == []
        assert slapd.entry(NEW_DN) == {}
    finally:
        if slapd.entry(NEW_DN):
            slapd.delete(NEW_DN)


@pytest.mark.parametrize("name", DOORS)
def test_change_through_one_door_counts_at_all(doors: dict[str, Door], slapd: Slapd, name: str) -> None:
    """What is changed through one door is what the directory holds, and what every other door says next."""
    old, new = check("romeo", "romeo-secret"), check("romeo", "romeo-new-secret", accepted=True)
    assert doors[name].ask(Question("set_password", "romeo", new.password))
    try:
        assert {other: (door.ask(old), door.ask(new)) for other, door in doors.items()} == dict.fromkeys(
            DOORS, (False, True)
        )
        assert slapd.can_bind(f"uid=romeo,{PEOPLE_DN}", "romeo-new-secret")
    finally:
        assert doors[name].ask(Question("set_password", "romeo", old.password))
