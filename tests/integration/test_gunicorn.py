"""The HTTP methods under a real gunicorn, asked as Prosody, MongooseIM and ejabberd ask, of real directories."""

import base64
import http.client
import re
import secrets
import socket
import stat
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import configuration
from tests.integration import silent_directory
from tests.servers.certificates import CertificateAuthority
from tests.servers.gunicorn import FACTORY, MODULE, ROOT, Answer, Gunicorn, ask, basic, raw
from tests.servers.people import PEOPLE, TWINS, Person, person
from tests.servers.process import ServerError
from tests.servers.slapd import Slapd

POSTED = {"set_password", "register", "remove_user", "remove_user_validate"}
WITHOUT_PASSWORD = {"user_exists", "remove_user", "get_certs"}
FORM = "application/x-www-form-urlencoded"

JULIET = person("juliet")
SECRET = "newcomer-secret"

# XEP-0106, section 4.2. Deliberately not the code under test.
ESCAPES = {character: f"\\{ord(character):02x}" for character in " \"&'/:<>@\\"}

ODD_PASSWORDS = {
    "form characters": "a&b+c%41=d;e#f?g/h",
    "colons": ":a:b::",
    "spaces": "  inner  and outer ",
    "plus and space": "+ +",
    "percent": "100%",
    "line break": "two\nlines\r\n",
    "Unicode": "пароль-密码-🔑",
    "combining": "Cafe\u0301 \ufb01",
    "quotes": "'\"\\`${}",
    "1,000 bytes": "0123456789" * 100,
    "3,000 encoded": "\u00fc" * 500,
    "true": "true",
}


def prosody_encoded(text: str) -> str:
    """Encodes a parameter as Prosody does (util.http): all but letters and digits, and a space as a plus."""
    return re.sub(rb"[^A-Za-z0-9 ]", lambda match: b"%%%02x" % match[0][0], text.encode()).decode().replace(" ", "+")


def xep_0106_escaped(name: str) -> str:
    """Returns the local part that an XMPP server sends for a name."""
    return "".join(ESCAPES.get(character, character) for character in name)


@dataclass(frozen=True)
class XmppServer:
    """How an XMPP server asks.

    Attributes:
        name: Its name.
        encoded: Encodes a parameter.
        content_type: What it says of a POST's body, if anything.
        pass_always: Whether it sends an empty `pass` with the methods that need none.
        pool: Whether it keeps its connection.
        credentials: What it has for credentials; ejabberd's empty ones make a header too.
    """

    name: str
    encoded: Callable[[str], str]
    content_type: str | None
    pass_always: bool
    pool: bool
    credentials: str | None = configuration.CREDENTIALS

    def request(
        self, method: str, user: str, domain: str, password: str | None
    ) -> tuple[str, str, dict[str, str], bytes | None]:
        """Returns the verb, target, headers and body of a question."""
        if password is None and self.pass_always:
            password = ""
        given = {"user": xep_0106_escaped(user), "server": domain, "pass": password}
        form = "&".join(f"{name}={self.encoded(value)}" for name, value in given.items() if value is not None)
        headers = {}
        if self.credentials is not None:
            headers["Authorization"] = basic(self.credentials)
        if method not in POSTED:
            return "GET", f"/{method}?{form}", headers, None
        if self.content_type:
            headers["Content-Type"] = self.content_type
        return "POST", f"/{method}", headers, form.encode()


PROSODY = XmppServer("Prosody", prosody_encoded, FORM, pass_always=False, pool=False)
MONGOOSEIM = XmppServer("MongooseIM", partial(urllib.parse.quote, safe=""), None, pass_always=True, pool=True)
EJABBERD = replace(MONGOOSEIM, name="ejabberd")
XMPP_SERVERS = [PROSODY, MONGOOSEIM, EJABBERD]


class Asker:
    """An XMPP server that asks a gunicorn.

    Attributes:
        style: How it asks.
        client: Its pool of one connection.
    """

    def __init__(self, style: XmppServer, server: Gunicorn) -> None:
        self.style = style
        self.client = server.client()
        self._server = server

    def __call__(
        self, method: str, user: str, password: str | None = None, domain: str = configuration.DOMAIN
    ) -> Answer:
        """Asks, and checks what every answer must be like."""
        question = self.style.request(method, user, domain, password)
        answer = ask(self.client, *question) if self.style.pool else self._server.request(*question)
        assert "Transfer-Encoding" not in answer.headers
        assert ("Content-Length" in answer.headers) is (answer.status != http.client.NO_CONTENT)
        return answer

    def accepts(self, user: str, password: str, domain: str = configuration.DOMAIN) -> bool:
        """Says whether a password is answered to be right; anything but a yes or a no fails the test."""
        answer = self("check_password", user, password, domain)
        assert (answer.status, answer.body) in {(200, b"true"), (200, b"false")}
        return answer.body == b"true"


@pytest.fixture(scope="module")
def silent_url() -> Iterator[str]:
    """The URL of a directory that accepts connections and says nothing."""
    with silent_directory() as url:
        yield url


@pytest.fixture(scope="module")
def strict_slapd() -> Iterator[Slapd]:
    """A directory with a password policy."""
    with Slapd(ppolicy=True) as server:
        yield server


@pytest.fixture(scope="module")
def fragile_slapd() -> Iterator[Slapd]:
    """A directory to be stopped and started."""
    with Slapd() as server:
        yield server


@pytest.fixture(scope="module")
def domains(slapd: Slapd, strict_slapd: Slapd, fragile_slapd: Slapd, silent_url: str) -> dict[str, dict[str, Any]]:
    """The tables of the domains: each is another state that a directory may be in."""
    table = partial(configuration.domain_table, slapd)
    return {
        configuration.DOMAIN: table(),
        "few.example": table(operations=None),
        "reader.example": table(bind_dn=slapd.reader_dn, bind_password=slapd.reader_password),
        "strict.example": configuration.domain_table(strict_slapd),
        "fragile.example": configuration.domain_table(fragile_slapd, deadline=2.0),
        "silent.example": table(servers=[silent_url], deadline=0.5),
        "wrong.example": table(bind_password="wrong"),
    }


@pytest.fixture(scope="module")
def config_path(domains: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with all domains."""
    return configuration.write(tmp_path_factory.mktemp("gunicorn"), {}, domains=domains)


@pytest.fixture(scope="module")
def gunicorn(config_path: Path) -> Iterator[Gunicorn]:
    """A gunicorn that serves all domains."""
    with Gunicorn(config_path, options={"workers": 2}) as server:
        yield server


@pytest.fixture(scope="module")
def open_gunicorn(domains: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A gunicorn that answers whoever asks."""
    table = domains[configuration.DOMAIN]
    file = configuration.write(tmp_path_factory.mktemp("open"), table, http={"insecure_open": True})
    with Gunicorn(file) as server:
        yield server


@pytest.fixture(params=XMPP_SERVERS, ids=lambda style: style.name)
def xmpp(request: pytest.FixtureRequest, gunicorn: Gunicorn) -> Iterator[Asker]:
    """Each XMPP server in turn."""
    asker = Asker(request.param, gunicorn)
    yield asker
    asker.client.close()


@pytest.fixture
def prosody(gunicorn: Gunicorn) -> Asker:
    """A Prosody, for what does not depend on who asks."""
    return Asker(PROSODY, gunicorn)


def someone() -> Person:
    """Returns a person who is nowhere yet."""
    uid = f"newcomer-{secrets.token_hex(4)}"
    return Person(uid, "A Newcomer", "Newcomer", f"{uid}@example.com", SECRET)


def added(slapd: Slapd) -> Person:
    """Returns a person who is in a directory from now on."""
    new = someone()
    dn, _, attributes = new.ldif.partition("\n")
    slapd.modify_ldif(f"{dn}\nchangetype: add\n{attributes}")
    return new


@pytest.fixture
def newcomer(slapd: Slapd) -> Person:
    """A person in the directory who may be changed and deleted."""
    return added(slapd)


@pytest.fixture
def strict_newcomer(strict_slapd: Slapd) -> Person:
    """A person in the directory with the policy."""
    return added(strict_slapd)


def is_person(slapd: Slapd, dn: str) -> bool:
    """Says whether the directory has an entry."""
    return bool(slapd.entry(dn))


class TestQuestions:
    """`check_password` and `user_exists`."""

    @pytest.mark.parametrize("someone_", PEOPLE, ids=lambda one: f"{one.uid} {one.ou or ''}".strip())
    def test_everybody(self, xmpp: Asker, someone_: Person) -> None:
        """Everybody's own password is right, and it alone; those of whom there are two are nobody."""
        known = someone_ not in TWINS
        password = someone_.password or "anything"
        assert xmpp.accepts(someone_.uid, password) is (known and someone_.password is not None)
        for wrong in (f"{password}x", password[:-1], f"{password} ", ""):
            assert not xmpp.accepts(someone_.uid, wrong)
        assert xmpp("user_exists", someone_.uid).body == (b"true" if known else b"false")

    @pytest.mark.parametrize(
        ("user", "domain"),
        [
            pytest.param("nobody", configuration.DOMAIN, id="nobody"),
            pytest.param("*", configuration.DOMAIN, id="star"),
            pytest.param("juliet)(uid=*", configuration.DOMAIN, id="filter"),
            pytest.param("juliet,ou=people", configuration.DOMAIN, id="DN"),
            pytest.param(" juliet", configuration.DOMAIN, id="space in front"),
            pytest.param("juliet ", configuration.DOMAIN, id="space behind"),
            pytest.param("", configuration.DOMAIN, id="empty"),
            pytest.param("juliet\0", configuration.DOMAIN, id="NUL"),
            pytest.param("x" * 2000, configuration.DOMAIN, id="long"),
            pytest.param("juliet", "other.example", id="other domain"),
            pytest.param("juliet", "", id="no domain"),
            pytest.param("juliet", "*", id="any domain"),
        ],
    )
    def test_nobody(self, xmpp: Asker, user: str, domain: str) -> None:
        """A name or domain that is not just somebody's is answered with no, whatever the password."""
        assert not xmpp.accepts(user, JULIET.password or "", domain)
        assert xmpp("user_exists", user, domain=domain).body == b"false"

    def test_case(self, xmpp: Asker) -> None:
        """Upper and lower case are the same in a name and a domain, and not in a password."""
        assert xmpp.accepts("JULIET", "juliet-secret", "EXAMPLE.com")
        assert not xmpp.accepts("juliet", "Juliet-Secret")

    def test_pool(self, gunicorn: Gunicorn) -> None:
        """A connection that is kept carries question after question, whatever the answers."""
        asker = Asker(MONGOOSEIM, gunicorn)
        assert asker.accepts("juliet", "juliet-secret")
        connection = asker.client.sock
        for method, password in [
            ("check_password", "x"),
            ("get_password", None),
            ("set_password", ""),
            ("nonsense", ""),
        ]:
            asker(method, "juliet", password)
        assert asker("remove_user", "nobody").status == 404
        assert asker.accepts("juliet", "juliet-secret")
        assert asker.client.sock is connection
        asker.client.close()

    def test_at_once(self, gunicorn: Gunicorn) -> None:
        """Questions that are asked at once each get their own answer."""

        def own_answer(index: int) -> bool:
            asked = PEOPLE[index % 3]
            right = index % 2 == 0
            return (
                Asker(PROSODY, gunicorn).accepts(asked.uid, asked.password if right and asked.password else "x")
                is right
            )

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(own_answer, range(120)))

    def test_pipelined(self, gunicorn: Gunicorn) -> None:
        """Questions that are sent behind one another without waiting are answered in their order."""
        passwords = ["x", "juliet-secret", "y", "juliet-secret", "juliet-secret", "z"]
        received = gunicorn.exchange(b"".join(get("juliet", password) for password in passwords))
        verdicts = re.findall(rb"\r\n\r\n(true|false)", received)
        assert verdicts == [b"true" if password == "juliet-secret" else b"false" for password in passwords]

    def test_doubled_slash(self, gunicorn: Gunicorn) -> None:
        """A second slash in front of the method, from a base URL that ends with one, makes no difference."""
        verb, target, headers, _ = PROSODY.request("check_password", "juliet", configuration.DOMAIN, "juliet-secret")
        assert gunicorn.request(verb, f"/{target}", headers).body == b"true"
        assert gunicorn.request(verb, f"/{target}").status == 401


class TestChanges:
    """Every other method, with the truth looked at in the directory itself."""

    @pytest.mark.parametrize("password", ODD_PASSWORDS.values(), ids=ODD_PASSWORDS)
    def test_set_password(self, xmpp: Asker, slapd: Slapd, newcomer: Person, password: str) -> None:
        """A new password is set just as it was given, and replaces the old one."""
        answer = xmpp("set_password", newcomer.uid, password)
        assert (answer.status, answer.body) == (204, b"")
        assert slapd.can_bind(newcomer.dn, password)
        assert not slapd.can_bind(newcomer.dn, SECRET)
        assert xmpp.accepts(newcomer.uid, password)
        assert not xmpp.accepts(newcomer.uid, SECRET)

    @pytest.mark.parametrize(
        "password",
        [
            pytest.param("", id="empty"),
            pytest.param("==SCRAM==,BeJ6Pcmzc7vX3K4Tlw==,K0Q8SEtvc3Q=,c2FsdA==,4096", id="SCRAM"),
            pytest.param('==MULTI_SCRAM==,{"sha256":{}}', id="several SCRAMs"),
        ],
    )
    def test_unusable_password(self, xmpp: Asker, slapd: Slapd, newcomer: Person, password: str) -> None:
        """What can't be meant as a password, as the hash that MongooseIM sends for one, is refused with 403."""
        answer = xmpp("set_password", newcomer.uid, password)
        assert answer.status == 403
        assert b"password" in answer.body
        assert slapd.can_bind(newcomer.dn, SECRET)

    def test_set_password_of_nobody(self, xmpp: Asker) -> None:
        """A password of somebody who is not there can't be set."""
        assert xmpp("set_password", someone().uid, "another-secret").status == 404

    @pytest.mark.parametrize(
        ("password", "reason"),
        [("short", b"the password is too short"), (SECRET, b"the password has been used before")],
        ids=["too short", "the old one"],
    )
    def test_policy(
        self, xmpp: Asker, strict_slapd: Slapd, strict_newcomer: Person, password: str, reason: bytes
    ) -> None:
        """A new password that the directory's policy refuses is answered with 403 and the reason, as a sentence."""
        answer = xmpp("set_password", strict_newcomer.uid, password, "strict.example")
        assert answer.status == 403
        assert answer.body == reason
        assert strict_slapd.can_bind(strict_newcomer.dn, SECRET)
        assert strict_slapd.can_bind(strict_newcomer.dn, password) is (password == SECRET)

    def test_policy_of_new_accounts(self, xmpp: Asker, strict_slapd: Slapd) -> None:
        """An account whose password the directory's policy refuses is not made, not even without a password."""
        new = someone()
        assert xmpp("register", new.uid, "short", "strict.example").status == 403
        assert not is_person(strict_slapd, new.dn)

    @pytest.mark.parametrize(
        ("method", "password"),
        [("set_password", "another-secret"), ("remove_user", None), ("remove_user_validate", SECRET)],
    )
    def test_missing_rights(
        self, xmpp: Asker, slapd: Slapd, newcomer: Person, method: str, password: str | None
    ) -> None:
        """A change that the service account may not make is answered with 403, and not made."""
        assert xmpp(method, newcomer.uid, password, "reader.example").status == 403
        assert slapd.can_bind(newcomer.dn, SECRET)

    def test_missing_right_to_add(self, xmpp: Asker, slapd: Slapd) -> None:
        """An account that the service account may not make is answered with 403, and not made."""
        new = someone()
        assert xmpp("register", new.uid, SECRET, "reader.example").status == 403
        assert not is_person(slapd, new.dn)

    def test_register(self, xmpp: Asker, slapd: Slapd) -> None:
        """A new account has an entry of its own, in which its password is good."""
        new, password = someone(), ODD_PASSWORDS["form characters"]
        answer = xmpp("register", new.uid, password)
        assert (answer.status, answer.body) == (201, b"")
        assert slapd.entry(new.dn)["uid"] == [new.uid.encode()]
        assert slapd.can_bind(new.dn, password)
        assert xmpp.accepts(new.uid, password)

    def test_register_odd_name(self, xmpp: Asker, slapd: Slapd) -> None:
        """A new account may have any name that a user can have."""
        new = replace(someone(), uid=f'o\'brien, "j+d" <{secrets.token_hex(4)}>')
        assert xmpp("register", new.uid, SECRET).status == 201
        assert slapd.can_bind(new.dn, SECRET)

    @pytest.mark.parametrize("uid", ["newcomer", "twin"], ids=["one", "two"])
    def test_register_taken(self, xmpp: Asker, slapd: Slapd, newcomer: Person, uid: str) -> None:
        """A name that is taken, by one or by several, is answered with 409, and nobody's password changes."""
        assert xmpp("register", newcomer.uid if uid == "newcomer" else uid, "another-secret").status == 409
        assert slapd.can_bind(newcomer.dn, SECRET)
        assert not slapd.can_bind(newcomer.dn, "another-secret")

    @pytest.mark.parametrize(
        ("uid", "domain"),
        [
            ("", configuration.DOMAIN),
            ("a\nb", configuration.DOMAIN),
            ("x" * 2000, configuration.DOMAIN),
            ("x", "other"),
        ],
        ids=["empty name", "line break", "long name", "other domain"],
    )
    def test_register_nobody(self, xmpp: Asker, uid: str, domain: str) -> None:
        """An account that can't be is answered with 403."""
        assert xmpp("register", uid, SECRET, domain).status == 403

    def test_remove_user(self, xmpp: Asker, slapd: Slapd, newcomer: Person) -> None:
        """A deleted account is gone from the directory, and can't be deleted again."""
        answer = xmpp("remove_user", newcomer.uid)
        assert (answer.status, answer.body) == (204, b"")
        assert not is_person(slapd, newcomer.dn)
        assert xmpp("remove_user", newcomer.uid).status == 404

    def test_remove_user_validate(self, xmpp: Asker, slapd: Slapd, newcomer: Person) -> None:
        """An account is deleted when its password is right, and can't be deleted again."""
        assert xmpp("remove_user_validate", newcomer.uid, SECRET).status == 204
        assert not is_person(slapd, newcomer.dn)
        assert xmpp("remove_user_validate", newcomer.uid, SECRET).status == 404

    @pytest.mark.parametrize("password", ["", "wrong", f"{SECRET} "], ids=["empty", "wrong", "space behind"])
    def test_remove_user_validate_refused(self, xmpp: Asker, slapd: Slapd, newcomer: Person, password: str) -> None:
        """An account whose password is not the one given is not deleted, which is answered with 403."""
        assert xmpp("remove_user_validate", newcomer.uid, password).status == 403
        assert slapd.can_bind(newcomer.dn, SECRET)

    @pytest.mark.parametrize("method", ["set_password", "remove_user", "remove_user_validate"])
    def test_ambiguous(self, xmpp: Asker, slapd: Slapd, method: str) -> None:
        """Where there are two of a name, neither is changed."""
        assert xmpp(method, "twin", "twin-a-secret").status == 404
        assert all(slapd.can_bind(twin.dn, twin.password or "") for twin in TWINS)

    @pytest.mark.parametrize(
        ("method", "password"),
        [
            ("set_password", "another-secret"),
            ("register", SECRET),
            ("remove_user", None),
            ("remove_user_validate", SECRET),
            ("get_certs", None),
        ],
    )
    def test_switched_off(self, xmpp: Asker, slapd: Slapd, newcomer: Person, method: str, password: str | None) -> None:
        """What a domain's settings don't name is answered with 501, and not done."""
        assert xmpp(method, newcomer.uid, password, "few.example").status == 501
        assert slapd.can_bind(newcomer.dn, SECRET)

    def test_get_certs(self, xmpp: Asker, slapd: Slapd, newcomer: Person, tmp_path: Path) -> None:
        """All certificates of a user come one after another in PEM form, those that have expired too."""
        issue = partial(CertificateAuthority(tmp_path).user_certificate, newcomer.uid, newcomer.mail)
        issued = [issue(), issue(expired=True)]
        values = "".join(f"userCertificate;binary:: {base64.b64encode(one.der).decode()}\n" for one in issued)
        slapd.modify_ldif(f"dn: {newcomer.dn}\nadd: userCertificate;binary\n{values}\n")
        answer = xmpp("get_certs", newcomer.uid)
        assert answer.status == 200
        assert sorted(re.findall(b"-----BEGIN.*?END CERTIFICATE-----\n", answer.body, re.DOTALL)) == sorted(
            one.pem for one in issued
        )
        assert len(answer.body) == sum(len(one.pem) for one in issued)

    def test_no_certs(self, xmpp: Asker) -> None:
        """The certificates of a user who has none are nothing, and those of nobody a 404."""
        answer = xmpp("get_certs", "juliet")
        assert (answer.status, answer.body) == (200, b"")
        assert xmpp("get_certs", "nobody").status == 404

    @pytest.mark.parametrize("method", ["get_password", "nonsense", "check_password/x"])
    def test_unknown(self, xmpp: Asker, method: str) -> None:
        """A password can't be asked for, nor can anything else that is not among the methods."""
        answer = xmpp(method, "juliet")
        assert (answer.status, answer.body) == (501, b"not supported")


class TestCredentials:
    """Who may ask."""

    @pytest.mark.parametrize("credentials", [None, "", "prosody:wrong"], ids=["none", "empty", "wrong"])
    def test_strangers(self, xmpp: Asker, gunicorn: Gunicorn, credentials: str | None) -> None:
        """Whoever has not the right credentials learns nothing but that."""
        stranger = Asker(replace(xmpp.style, credentials=credentials, pool=False), gunicorn)
        for method in ("check_password", "set_password", "get_password"):
            answer = stranger(method, "juliet", "juliet-secret")
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="ldapauth"')

    @pytest.mark.parametrize("credentials", [None, "", "any:thing"], ids=["none", "empty", "some"])
    def test_open(self, xmpp: Asker, open_gunicorn: Gunicorn, credentials: str | None) -> None:
        """With insecure_open everybody may ask, as ejabberd does with a header of credentials that are empty."""
        asker = Asker(replace(xmpp.style, credentials=credentials, pool=False), open_gunicorn)
        assert asker.accepts("juliet", "juliet-secret")
        assert not asker.accepts("juliet", "wrong")
        assert asker("set_password", "nobody", "x").status == 404


AUTHORIZATION = f"Authorization: {basic(configuration.CREDENTIALS)}"
NOBODY = b"user=nobody&server=example.com&pass=x"


def get(user: str, password: str, *headers: str) -> bytes:
    """Returns a question about a password, as it goes over the wire."""
    _, target, _, _ = PROSODY.request("check_password", user, configuration.DOMAIN, password)
    return raw("GET", target, *(headers or [AUTHORIZATION]))


def post(body: bytes, *headers: str, method: str = "set_password") -> bytes:
    """Returns a POST with just the headers that are given."""
    return raw("POST", f"/{method}", AUTHORIZATION, *headers, body=body)


def chunked(body: bytes, *headers: str) -> bytes:
    """Returns a POST in chunks."""
    return post(body, "Transfer-Encoding: chunked", *headers)


def chunk(octets: bytes) -> bytes:
    """Returns one chunk."""
    return b"%x\r\n%s\r\n" % (len(octets), octets)


def statuses(received: bytes) -> list[int]:
    """Returns the status codes of the answers that were received."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


READ_AT_ONCE = 8192
"""Bytes that gunicorn takes from a connection at a time."""

REFUSED = {
    "noise": (bytes(range(256)) + b"\r\n\r\n", [400]),
    "noise without an end": (bytes(range(128, 256)) * 20, []),
    "TLS": (
        b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + b"\x7f" * 32 + b"\x00\x00\x02\x13\x01\x01\x00\x00\x00",
        [],
    ),
    "LDAP": (b"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00", []),
    "line protocol": (b"auth:juliet:example.com:juliet-secret\n", [400]),
    "HTTP/0.9": (b"GET /check_password?%s\r\n\r\n" % NOBODY, [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "HTTP/9.9": (get("nobody", "x").replace(b"HTTP/1.1", b"HTTP/9.9"), [400]),
    "half a request line": (get("nobody", "x")[:40], []),
    "half the headers": (get("nobody", "x")[:-20], []),
    "headers without an end": (get("nobody", "x")[:-2], []),
    "line breaks of Unix": (get("nobody", "x").replace(b"\r\n", b"\n"), [400]),
    "small letters": (b"g" + get("nobody", "x")[1:], [400]),
    "space in the query": (get("nobody", "x").replace(b"pass=", b"pass=a b"), [400]),
    "byte in the query": (get("nobody", "x").replace(b"pass=", b"pass=\xc3\xa4"), [400]),
    "long request line": (get("nobody", "x" * 100_000), [414]),
    "long header": (post(b"", "X: ".ljust(100_000, "x")), [431]),
    "many headers": (post(b"", *["X: y"] * 500), [431]),
    "header without a colon": (post(NOBODY, "nonsense"), [400]),
    "header with a space": (post(NOBODY, "Content-Length : 5"), [400]),
    "folded header": (post(NOBODY, "X: y", " z"), [400]),
    "NUL in a header": (post(NOBODY, "X: \0"), [400]),
    "two hosts": (post(NOBODY, "Host: other"), [400]),
    "two credentials": (post(NOBODY, "Authorization: Basic eDp5", f"Content-Length: {len(NOBODY)}"), [401]),
    "length that is no number": (post(NOBODY, "Content-Length: many"), [400]),
    "negative length": (post(NOBODY, "Content-Length: -1"), [400]),
    "signed length": (post(NOBODY, "Content-Length: +5"), [400]),
    "two lengths": (post(NOBODY, "Content-Length: 3", "Content-Length: 4"), [400]),
    "length and chunks": (chunked(chunk(NOBODY), "Content-Length: 5"), [400]),
    "length of less": (post(NOBODY + b"\r\n\r\n", "Content-Length: 5"), [400, 400]),
    "length of more": (post(NOBODY, "Content-Length: 500"), [400]),
    "length of too much": (post(NOBODY, "Content-Length: 1000000000000"), [413]),
    "no length": (post(NOBODY + b"\r\n\r\n"), [400, 400]),
    "unknown coding": (post(NOBODY, "Transfer-Encoding: gzip"), [400]),
    "chunk without a size": (chunked(NOBODY + b"\r\n"), [400]),
    "chunk of less": (chunked(b"5\r\n" + NOBODY + b"\r\n0\r\n\r\n"), [400]),
    "chunk of more": (chunked(b"500\r\n" + NOBODY + b"\r\n0\r\n\r\n"), [400]),
    "chunks without an end": (chunked(chunk(NOBODY)), [400]),
    "chunks of too much": (chunked(chunk(b"x" * 60_000) * 3 + b"0\r\n\r\n"), [413]),
    "repeated parameter": (get("nobody", "x").replace(b"user=", b"user=nobody&user="), [400]),
    "wrong verb": (get("nobody", "x").replace(b"GET", b"POST"), [405]),
    "HEAD": (get("nobody", "x").replace(b"GET", b"HEAD"), [405]),
    "unknown verb": (get("nobody", "x").replace(b"GET", b"BREW"), [405]),
    "no credentials": (get("nobody", "x", "X: y"), [401]),
}


class TestBadInput:
    """What no XMPP server sends."""

    @pytest.mark.parametrize(("octets", "expected"), REFUSED.values(), ids=REFUSED)
    def test_refused(self, gunicorn: Gunicorn, prosody: Asker, octets: bytes, expected: list[int]) -> None:
        """What is no question gets a clear refusal, or the end of the connection; the next question is answered."""
        workers = gunicorn.workers()
        received = statuses(gunicorn.exchange(octets))
        # The answer may be lost when what is refused is not read to its end: closing the connection resets it then.
        assert received == expected or (received == [] and len(octets) > READ_AT_ONCE)
        assert prosody.accepts("juliet", "juliet-secret")
        assert not prosody.accepts("juliet", "wrong")
        assert gunicorn.workers() == workers

    @pytest.mark.parametrize("cut", [1, 5, 10], ids=lambda number: f"{number} bytes less")
    @pytest.mark.parametrize("framing", ["length", "chunk", "end"])
    def test_cut(self, gunicorn: Gunicorn, slapd: Slapd, newcomer: Person, framing: str, cut: int) -> None:
        """A body that ends before its time is no question: half a password would be set."""
        body = f"user={newcomer.uid}&server={configuration.DOMAIN}&pass=another-secret".encode()
        octets = {
            "length": post(body[:-cut], f"Content-Length: {len(body)}"),
            "chunk": chunked(chunk(body)[: -cut - 2]),
            "end": chunked(chunk(body[:-cut])),
        }[framing]
        assert statuses(gunicorn.exchange(octets)) in ([400], [])
        assert slapd.can_bind(newcomer.dn, SECRET)

    def test_cut_removal(self, gunicorn: Gunicorn, slapd: Slapd, newcomer: Person) -> None:
        """An account is not deleted either by a body that ends before its time: the name may have gone on."""
        body = f"server={configuration.DOMAIN}&user={newcomer.uid}".encode()
        octets = post(body, f"Content-Length: {len(body) + 1}", method="remove_user")
        assert statuses(gunicorn.exchange(octets)) in ([400], [])
        assert is_person(slapd, newcomer.dn)

    def test_too_much(self, gunicorn: Gunicorn, slapd: Slapd, newcomer: Person) -> None:
        """Of a body that is too long in all, with every chunk good, no part is taken for a question."""
        body = f"user={newcomer.uid}&server={configuration.DOMAIN}&pass={'x' * 100_000}".encode()
        assert statuses(gunicorn.exchange(chunked(chunk(body) + b"0\r\n\r\n"))) in ([413], [])
        assert slapd.can_bind(newcomer.dn, SECRET)

    @pytest.mark.parametrize("size", [1, 7, 1000], ids=lambda number: f"chunks of {number}")
    def test_chunks(self, gunicorn: Gunicorn, slapd: Slapd, newcomer: Person, size: int) -> None:
        """A body in chunks, as a reverse proxy may send one, is read as any other."""
        body = f"user={newcomer.uid}&server={configuration.DOMAIN}&pass=another-secret".encode()
        pieces = [chunk(body[start : start + size]) for start in range(0, len(body), size)]
        assert statuses(gunicorn.exchange(chunked(b"".join(pieces) + b"0\r\n\r\n"))) == [204]
        assert slapd.can_bind(newcomer.dn, "another-secret")

    def test_slow(self, gunicorn: Gunicorn) -> None:
        """A question that comes byte by byte is answered when it is whole."""
        with gunicorn.connect() as sock:
            for byte in get("juliet", "juliet-secret"):
                sock.send(bytes((byte,)))
            sock.shutdown(socket.SHUT_WR)
            received = b"".join(iter(partial(sock.recv, 65536), b""))
        assert received.endswith(b"\r\n\r\ntrue")


QUESTIONS = {
    "check_password": JULIET.password,
    "user_exists": None,
    "get_certs": None,
    "set_password": "another-secret",
    "register": SECRET,
    "remove_user": None,
    "remove_user_validate": JULIET.password,
}


def is_unavailable(answer: Answer) -> bool:
    """Says whether an answer is that of an outage, and says nothing about the directory."""
    assert answer.body == b"the directory can't be asked"
    return answer.status == 503 and answer.headers["Retry-After"].isdecimal()


class TestOutage:
    """A directory that can't be asked."""

    def test_stopped(self, xmpp: Asker, gunicorn: Gunicorn, fragile_slapd: Slapd) -> None:
        """Without the directory every question is answered with 503; when it is back, right, by the same workers."""
        workers = gunicorn.workers()
        assert xmpp.accepts("juliet", "juliet-secret", "fragile.example")
        fragile_slapd.stop()
        try:
            for method, password in QUESTIONS.items():
                assert is_unavailable(xmpp(method, "juliet", password, "fragile.example"))
            assert xmpp.accepts("juliet", "juliet-secret")
        finally:
            fragile_slapd.start()
        assert xmpp.accepts("juliet", "juliet-secret", "fragile.example")
        assert not xmpp.accepts("juliet", "wrong", "fragile.example")
        assert xmpp("set_password", "juliet", "juliet-secret", "fragile.example").status == 204
        assert gunicorn.workers() == workers

    def test_silent(self, gunicorn: Gunicorn) -> None:
        """A directory that accepts the connection and says nothing is not waited for longer than the domain says."""

        def unanswered(question: tuple[str, str | None]) -> bool:
            method, password = question
            return is_unavailable(Asker(PROSODY, gunicorn)(method, "juliet", password, "silent.example"))

        with ThreadPoolExecutor(len(QUESTIONS)) as threads:
            answers = threads.map(unanswered, QUESTIONS.items())
            assert Asker(PROSODY, gunicorn).accepts("juliet", "juliet-secret")
            assert all(answers)

    @pytest.mark.parametrize("method", QUESTIONS)
    def test_service_account(self, prosody: Asker, method: str) -> None:
        """When the directory refuses the service account, that is nobody's wrong password."""
        assert is_unavailable(prosody(method, "juliet", QUESTIONS[method], "wrong.example"))


MISTAKES: dict[str, tuple[tuple[dict[str, Any], dict[str, Any]], list[str]]] = {
    "no credentials": (({}, {"http": {}}), ["http.credentials: is missing"]),
    "no filter": (({"filter": "(uid="}, {}), ["domains.example.com.filter: is not a search filter"]),
    "two": (({"base": "x"}, {"htttp": {}}), ["htttp: unknown key", "domains.example.com.base: unknown key"]),
}


@pytest.fixture
def broken(slapd: Slapd, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A configuration with mistakes: what is changed in a domain's table, and in the others."""
    changes, sections = request.param
    return configuration.write(tmp_path, configuration.domain_table(slapd, **changes), **sections)


@pytest.fixture(scope="module")
def recommended(config_path: Path) -> Iterator[Gunicorn]:
    """A gunicorn as `deploy/gunicorn.conf.py` has it, but for the place of the socket, and with an access log."""
    settings, options = ROOT / "deploy" / "gunicorn.conf.py", {"access-logfile": "access.log"}
    with Gunicorn(config_path, app=MODULE, unix_socket=True, gunicorn_config=settings, options=options) as server:
        yield server


def output_of_failed_start(config_path: Path, app: str, **options: str | int) -> str:
    """Returns what gunicorn wrote, and how it ended."""
    with pytest.raises(ServerError) as ended:
        Gunicorn(config_path, app=app, options={**options, "error-logfile": "-"}).start()
    return str(ended.value)


def mistakes_in(text: str) -> list[str]:
    """Returns the mistakes that were logged."""
    return re.findall(r'ERROR event=configuration problem="(.*)"', text.replace('\\"', ""))


class TestConfiguration:
    """How gunicorn starts with the app, and how it doesn't."""

    @pytest.mark.parametrize(("broken", "problems"), MISTAKES.values(), ids=MISTAKES, indirect=["broken"])
    @pytest.mark.parametrize(
        ("app", "options"),
        [(FACTORY, {}), (MODULE, {}), (FACTORY, {"preload": True, "workers": 2})],
        ids=["factory", "module", "preloaded"],
    )
    def test_mistakes(self, broken: Path, app: str, options: dict[str, int], problems: list[str]) -> None:
        """With a configuration that can't be used gunicorn ends, having said what is wrong, a line for each mistake."""
        text = output_of_failed_start(broken, app, **options)
        said = mistakes_in(text)
        assert len(said) == len(problems)
        assert all(line.startswith(problem) for line, problem in zip(said, problems, strict=True))
        assert "(exit code 3)" in text
        assert "Traceback" not in text
        assert text.count("Booting worker") <= 1

    @pytest.mark.parametrize(("broken", "problems"), MISTAKES.values(), ids=MISTAKES, indirect=["broken"])
    def test_mistakes_of_several_workers(self, broken: Path, problems: list[str]) -> None:
        """Several workers each say what is wrong, and are not started again."""
        text = output_of_failed_start(broken, FACTORY, workers=2)
        assert len(set(mistakes_in(text))) == len(problems)
        assert text.count("Booting worker") == 2
        # gunicorn 27 shows a traceback of its own when both end at the same moment; the app has no part in it.
        assert f'File "{ROOT / "ldapauth"}' not in text

    @pytest.mark.parametrize("style", XMPP_SERVERS, ids=lambda style: style.name)
    def test_recommended(self, recommended: Gunicorn, style: XmppServer) -> None:
        """The recommended settings serve every XMPP server, on a Unix socket."""
        asker = Asker(style, recommended)
        for _ in range(3):
            assert asker.accepts("juliet", "juliet-secret")
            assert not asker.accepts("juliet", "wrong")
        asker.client.close()

    def test_recommended_processes(self, recommended: Gunicorn) -> None:
        """The recommended settings start two workers."""
        assert len(recommended.workers()) == 2

    def test_recommended_sockets(self, recommended: Gunicorn) -> None:
        """The recommended settings open one socket, for its owner and its group, and none for control."""
        sockets = [path for path in recommended.directory.rglob("*") if path.is_socket()]
        assert [str(path) for path in sockets] == [recommended.address]
        assert stat.filemode(sockets[0].stat().st_mode) == "srwxrwx---"

    def test_recommended_length(self, recommended: Gunicorn) -> None:
        """The recommended settings have room for a request line of 8,000 bytes."""
        assert not Asker(PROSODY, recommended).accepts("juliet", "\u00fc" * 1300)

    def test_recommended_access_log(self, recommended: Gunicorn) -> None:
        """The recommended format of the access log has the method, and neither a query nor a line that is made up."""
        recommended.exchange(raw("GET", "/check_password%3fpass=one%0aFORGED?pass=two"))
        recommended.exchange(get("juliet", "three"))
        assert '"GET /check_password HTTP/1.1" 200' in recommended.access_log
        assert not re.findall("^FORGED|pass=|one|two|three", recommended.access_log, re.MULTILINE)
