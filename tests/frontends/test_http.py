"""The HTTP front end: status codes, headers and bodies, asked in the same process, of a real directory."""

import hmac
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pytest_mock import MockerFixture
from werkzeug.test import TestResponse

from ldapauth import config, errors, log
from ldapauth.frontends import http
from ldapauth.provider import Provider
from tests import configuration
from tests.servers.gunicorn import basic
from tests.servers.people import person
from tests.servers.slapd import Slapd

METHODS = {
    "check_password": "GET",
    "user_exists": "GET",
    "get_certs": "GET",
    "set_password": "POST",
    "register": "POST",
    "remove_user": "POST",
    "remove_user_validate": "POST",
}
WITH_PASSWORD = ["check_password", "set_password", "register", "remove_user_validate"]
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# Verbs of HTTP and WebDAV that the app has no route for.
OTHER_VERBS = ["TRACE", "PROPFIND", "BREW"]

UNKNOWN_PATHS = [
    "/get_password",
    "/nonsense",
    "/",
    "/check_password/",
    "/check_password//",
    "/x/check_password",
    "/x//check_password",
    "/Check_password",
    "/check_password%20",
    "/check_password%00",
    "/check_password%0a",
    "/check_password%ff",
    "/%2e%2e/check_password",
    "/static/x",
]

OPEN = {"insecure_open": True}

JULIET = person("juliet")
RIGHT = f"user=juliet&server={configuration.DOMAIN}&pass={JULIET.password}"
WRONG = f"user=juliet&server={configuration.DOMAIN}&pass=wrong"

# The status that each exception means. A new exception needs a line here, or a test fails.
STATUSES: dict[type[errors.LdapAuthError], int] = {
    errors.DirectoryUnavailable: 503,
    errors.DeadlineExceeded: 503,
    errors.UnclearAnswer: 503,
    errors.OperationOff: 501,
    errors.ChangeRefused: 403,
    errors.NoSuchUser: 404,
    errors.UserExists: 409,
    errors.WrongPassword: 403,
    errors.NotAllowed: 403,
    errors.PolicyRefusal: 403,
}


class Asker:
    """Asks an app as an XMPP server with the right credentials does, or with other headers."""

    def __init__(self, app: Flask, headers: Mapping[str, str]) -> None:
        self._client = app.test_client()
        self._headers = headers

    def __call__(
        self,
        path: str,
        form: str | bytes = "",
        *,
        verb: str | None = None,
        headers: Mapping[str, str] | None = None,
        **environ: str,
    ) -> TestResponse:
        """Asks.

        Args:
            path: The path, with the slash.
            form: The parameters: the query of a GET, the body of anything else.
            verb: The verb; the right one of the method, if not given.
            headers: The headers; with the right credentials, if not given.
            **environ: What is changed in the WSGI environment.
        """
        verb = verb or METHODS.get(path[1:], "GET")
        octets = form.encode() if isinstance(form, str) else form
        if verb in ("GET", "HEAD"):
            environ["QUERY_STRING"], octets = octets.decode("latin-1"), b""
        headers = dict(self._headers if headers is None else headers)
        return self._client.open(path, method=verb, headers=headers, data=octets, environ_overrides=environ)


@pytest.fixture(scope="module")
def config_path(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration that serves the slapd with every operation on, and one more domain with few."""
    table = configuration.domain_table(slapd)
    few = configuration.domain_table(slapd, operations=None)
    return configuration.write(
        tmp_path_factory.mktemp("http"), table, domains={configuration.DOMAIN: table, "few.example": few}
    )


@pytest.fixture(scope="module")
def app(config_path: Path) -> Flask:
    """The app that the configuration gives."""
    return http.build(config.load(str(config_path)))


@pytest.fixture(scope="module")
def ask(app: Flask) -> Asker:
    """Asks the app."""
    return Asker(app, {"Authorization": basic(configuration.CREDENTIALS)})


@pytest.fixture
def configured(slapd: Slapd, tmp_path: Path) -> Callable[..., Path]:
    """Writes a configuration, given the `[http]` table and what is changed in the domain's."""

    def write(table: Mapping[str, Any], **changes: Any) -> Path:
        return configuration.write(tmp_path, configuration.domain_table(slapd, **changes), http=dict(table))

    return write


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Undoes what starting the app does to the log of the process."""
    logger = logging.getLogger("ldapauth")
    before = logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions
    yield
    logger.handlers[:], level, logger.propagate, logging.raiseExceptions = before
    logger.setLevel(level)


def form(name: str, password: str = "newcomer-secret", *, domain: str = configuration.DOMAIN) -> str:
    """Returns the parameters of a question."""
    return f"user={name}&server={domain}&pass={password}"


@pytest.fixture
def newcomer(ask: Asker) -> str:
    """The name of a person who may be changed and deleted."""
    name = f"newcomer-{secrets.token_hex(4)}"
    assert ask("/register", form(name)).status_code == 201
    return name


def everything_in(answer: TestResponse) -> str:
    """Returns all that a client sees of an answer."""
    return f"{answer.status} {answer.headers} {answer.text}"


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [
        pytest.param("/check_password", RIGHT, b"true", id="right password"),
        pytest.param("/check_password", WRONG, b"false", id="wrong password"),
        pytest.param("/check_password", form("juliet", ""), b"false", id="empty password"),
        pytest.param("/check_password", f"user=juliet&server={configuration.DOMAIN}&pass", b"false", id="no equals"),
        pytest.param("/check_password", form("nobody"), b"false", id="nobody's password"),
        pytest.param("/check_password", form("juliet", domain="other.example"), b"false", id="other domain"),
        pytest.param("/check_password", form(""), b"false", id="empty name"),
        pytest.param("/check_password", form("a%0ab"), b"false", id="name with a line break"),
        pytest.param("/user_exists", form("juliet", ""), b"true", id="user"),
        pytest.param("/user_exists", f"user=juliet&server={configuration.DOMAIN}", b"true", id="user, no pass"),
        pytest.param("/user_exists", form("nobody", ""), b"false", id="nobody"),
        pytest.param("/user_exists", form("twin", ""), b"false", id="two of that name"),
        pytest.param("/check_password", f"{RIGHT}&more=1&again=2", b"true", id="unknown parameters"),
        pytest.param("/check_password", f"&{RIGHT}&&", b"true", id="empty parameters"),
    ],
)
def test_verdict(ask: Asker, path: str, query: str, body: bytes) -> None:
    """A yes-or-no question is answered with 200 and exactly `true` or `false`, as text that nobody may store."""
    answer = ask(path, query)
    assert (answer.status_code, answer.data) == (200, body)
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/set_password", 204),
        ("/remove_user", 204),
        ("/remove_user_validate", 204),
        ("/get_certs", 200),
    ],
)
def test_change(ask: Asker, newcomer: str, path: str, status: int) -> None:
    """A change that was made, and the certificates of a user who has none, is a success with nothing in its body."""
    answer = ask(path, form(newcomer))
    assert (answer.status_code, answer.data) == (status, b"")
    assert ("Content-Length" in answer.headers) is (status != 204)


def test_register_twice(ask: Asker, newcomer: str) -> None:
    """An account that is there can't be made, which is a conflict."""
    assert ask("/register", form(newcomer)).status_code == 409


@pytest.mark.parametrize("path", ["/set_password", "/remove_user", "/remove_user_validate", "/get_certs"])
def test_nobody(ask: Asker, path: str) -> None:
    """A change of a user who is not there is answered with 404."""
    assert ask(path, form("nobody")).status_code == 404


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("check_password", "user_exists")])
def test_switched_off(ask: Asker, method: str) -> None:
    """An operation that the domain's settings don't name is answered with 501, as if there were no such method."""
    answer = ask(f"/{method}", form("juliet", domain="few.example"))
    assert (answer.status_code, answer.text) == (501, "not supported")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param("", id="none"),
        pytest.param(f"server={configuration.DOMAIN}&pass=secret", id="no user"),
        pytest.param("user=juliet&pass=secret", id="no server"),
        pytest.param(f"USER=juliet&server={configuration.DOMAIN}&pass=secret", id="upper case"),
        pytest.param(f"user=juliet;server={configuration.DOMAIN};pass=secret", id="semicolons"),
        pytest.param(f"user=romeo&{RIGHT}", id="user twice"),
        pytest.param(f"{RIGHT}&user=juliet", id="user twice, alike"),
        pytest.param(f"{RIGHT}&pass=", id="pass twice"),
        pytest.param(f"{RIGHT}&x=1&x=2", id="unknown twice"),
        pytest.param(f"{RIGHT}&%75ser=romeo", id="user twice, encoded"),
        pytest.param(f"user=juliet&server={configuration.DOMAIN}&pass=%ff", id="not UTF-8"),
        pytest.param(f"user=%c3&server={configuration.DOMAIN}&pass=secret", id="cut UTF-8"),
        pytest.param(f"user=juliet&server={configuration.DOMAIN}&pass=%ed%a0%80", id="surrogate"),
        pytest.param(f"{RIGHT}&%ff=1", id="name not UTF-8"),
        pytest.param(f"{RIGHT}".encode() + b"\xff", id="raw bytes, not UTF-8"),
        pytest.param("&".join([RIGHT, *(f"x{number}=1" for number in range(20))]), id="too many"),
        pytest.param("&" * 2000, id="ampersands"),
    ],
)
def test_bad_parameters(ask: Asker, method: str, parameters: str | bytes) -> None:
    """Parameters that are missing, repeated, too many or not UTF-8 are answered with 400, and not repeated there."""
    answer = ask(f"/{method}", parameters)
    assert answer.status_code == 400
    assert "juliet" not in everything_in(answer)
    assert "secret" not in everything_in(answer)


@pytest.mark.parametrize("method", WITH_PASSWORD)
def test_no_password(ask: Asker, method: str) -> None:
    """A method that is about a password needs one, if an empty one."""
    answer = ask(f"/{method}", f"user=juliet&server={configuration.DOMAIN}")
    assert (answer.status_code, answer.text) == (400, "missing parameter: pass")


@pytest.mark.parametrize("method", METHODS)
def test_parameters_elsewhere(app: Flask, method: str) -> None:
    """Parameters are looked for where they belong: not in the body of a GET, and not in the query of a POST."""
    elsewhere = "data" if METHODS[method] == "GET" else "query_string"
    headers = {"Authorization": basic(configuration.CREDENTIALS), "Content-Type": "application/x-www-form-urlencoded"}
    arguments: dict[str, Any] = {"method": METHODS[method], "headers": headers, elsewhere: RIGHT}
    answer = app.test_client().open(f"/{method}", **arguments)
    assert (answer.status_code, answer.text) == (400, "missing parameter: user")


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=x", "text/plain", "", "x"],
)
def test_content_type(ask: Asker, newcomer: str, content_type: str) -> None:
    """A POST's body is read as a form whatever it is said to be."""
    answer = ask("/set_password", form(newcomer), CONTENT_TYPE=content_type)
    assert answer.status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": ""}, id="empty"),
        pytest.param({"Authorization": "Basic"}, id="scheme alone"),
        pytest.param({"Authorization": "Basic "}, id="nothing behind the scheme"),
        pytest.param({"Authorization": basic("")}, id="empty credentials"),
        pytest.param({"Authorization": basic(":")}, id="colon alone"),
        pytest.param({"Authorization": basic("prosody:wrong")}, id="wrong password"),
        pytest.param({"Authorization": basic("someone:http-secret")}, id="wrong user"),
        pytest.param({"Authorization": basic("prosody")}, id="user alone"),
        pytest.param({"Authorization": basic(configuration.CREDENTIALS[:-1])}, id="one character less"),
        pytest.param({"Authorization": basic(f"{configuration.CREDENTIALS} ")}, id="one character more"),
        pytest.param({"Authorization": basic(configuration.CREDENTIALS.upper())}, id="upper case"),
        pytest.param({"Authorization": basic(configuration.CREDENTIALS.encode() + b"\xff")}, id="not UTF-8"),
        pytest.param({"Authorization": basic(configuration.CREDENTIALS)[:-2]}, id="cut base64"),
        pytest.param({"Authorization": "Basic !!!"}, id="broken base64"),
        pytest.param({"Authorization": "Basic p\xe4ssword"}, id="not ASCII"),
        pytest.param({"Authorization": f"{basic(configuration.CREDENTIALS)}, Basic eDp5"}, id="two in one"),
        pytest.param({"Authorization": f"Basic {configuration.CREDENTIALS}"}, id="not encoded"),
        pytest.param({"Authorization": basic(configuration.CREDENTIALS).replace("Basic", "Bearer")}, id="Bearer"),
        pytest.param({"Authorization": basic(configuration.CREDENTIALS).replace("Basic ", "")}, id="no scheme"),
        pytest.param({"Authorization": 'Digest username="prosody"'}, id="Digest"),
        pytest.param({"Proxy-Authorization": basic(configuration.CREDENTIALS)}, id="other header"),
    ],
)
@pytest.mark.parametrize("path", ["/check_password", "/get_password", "/"])
def test_no_credentials(ask: Asker, path: str, headers: Mapping[str, str]) -> None:
    """Without the right credentials there is nothing but 401 and what they must be, whatever is asked."""
    answer = ask(path, RIGHT, headers=headers)
    assert (answer.status_code, answer.text) == (401, "credentials are needed")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="ldapauth"'


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        *((verb, f"/{method}") for verb in VERBS for method in METHODS),
        *((verb, "/check_password") for verb in OTHER_VERBS),
        *(("GET", path) for path in UNKNOWN_PATHS),
    ],
)
def test_credentials_first(ask: Asker, verb: str, path: str) -> None:
    """Without credentials a stranger learns of no path and no verb whether there is such a thing."""
    assert ask(path, RIGHT, verb=verb, headers={}).status_code == 401


def test_huge_body_of_a_stranger(ask: Asker) -> None:
    """Without credentials not even a body's size is looked at."""
    assert ask("/set_password", b"x" * (http.MAX_BODY + 1), headers={}).status_code == 401


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(basic(configuration.CREDENTIALS), id="usual"),
        pytest.param(basic(configuration.CREDENTIALS).replace("Basic", "basic"), id="lower case"),
        pytest.param(basic(configuration.CREDENTIALS).replace("Basic", "BASIC"), id="upper case"),
        pytest.param(basic(configuration.CREDENTIALS).replace("Basic ", "Basic   "), id="spaces"),
    ],
)
def test_credentials(ask: Asker, value: str) -> None:
    """The right credentials are recognised however RFC 7617 lets them be written."""
    assert ask("/check_password", RIGHT, headers={"Authorization": value}).data == b"true"


@pytest.mark.parametrize(
    "credentials", ["prosody:a:b:c", "prosody: spaces ", "prosodia:\u043f\u0430\u0440\u043e\u043b\u044c", 'p:"&+%;']
)
def test_odd_credentials(configured: Callable[..., Path], credentials: str) -> None:
    """Credentials may hold colons, spaces at the end and any Unicode, in UTF-8."""
    settings = config.load(str(configured({"credentials": credentials})))
    ask = Asker(http.build(settings), {"Authorization": basic(credentials)})
    assert ask("/check_password", RIGHT).data == b"true"
    assert ask("/check_password", RIGHT, headers={"Authorization": basic(f"{credentials}x")}).status_code == 401


def test_two_credentials(configured: Callable[..., Path]) -> None:
    """While credentials are changed the old and the new ones are both good, and no mixture of them."""
    settings = config.load(str(configured({"credentials": ["prosody:new", "prosodia:old"]})))
    ask = Asker(http.build(settings), {})
    statuses = {
        given: ask("/check_password", RIGHT, headers={"Authorization": basic(given)}).status_code
        for given in ("prosody:new", "prosodia:old", "prosody:old", "prosodia:new", "prosody:newprosodia:old", "", ":")
    }
    assert [given for given, status in statuses.items() if status == 200] == ["prosody:new", "prosodia:old"]
    assert set(statuses.values()) == {200, 401}


def test_every_credential_is_compared(configured: Callable[..., Path], mocker: MockerFixture) -> None:
    """Whichever credentials are right, all are compared, so that the time that it takes does not tell them apart."""
    settings = config.load(str(configured({"credentials": ["prosody:new", "prosody:old"]})))
    ask = Asker(http.build(settings), {})
    compare = mocker.spy(hmac, "compare_digest")
    for given in ("prosody:new", "prosody:old", "prosody:none"):
        compare.reset_mock()
        ask("/check_password", RIGHT, headers={"Authorization": basic(given)})
        assert compare.call_count == 2


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Basic "}, id="nothing behind the scheme"),
        pytest.param({"Authorization": basic("any:thing")}, id="some"),
        pytest.param({"Authorization": "nonsense"}, id="nonsense"),
    ],
)
def test_insecure_open(configured: Callable[..., Path], headers: Mapping[str, str]) -> None:
    """With insecure_open everybody may ask, with credentials or without."""
    ask = Asker(http.build(config.load(str(configured({"insecure_open": True})))), headers)
    assert ask("/check_password", RIGHT).data == b"true"
    assert ask("/check_password", WRONG).data == b"false"


@pytest.mark.parametrize(
    ("verb", "method"),
    [
        *((verb, method) for verb in VERBS for method, right in METHODS.items() if verb != right),
        *((verb, method) for verb in OTHER_VERBS for method in ("check_password", "set_password")),
    ],
)
def test_wrong_verb(ask: Asker, mocker: MockerFixture, verb: str, method: str) -> None:
    """A method asked with another verb than its own is answered with 405 and the right verb, and asks nothing."""
    lookup = mocker.patch.object(Provider, "_lookup")
    answer = ask(f"/{method}", RIGHT, verb=verb)
    assert (answer.status_code, answer.headers.get("Allow")) == (405, METHODS[method])
    lookup.assert_not_called()


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_unknown_path(ask: Asker, verb: str, path: str) -> None:
    """Whatever is none of the methods is answered with 501, `get_password` among it, and never with a redirect."""
    answer = ask(path, RIGHT, verb=verb)
    assert (answer.status_code, answer.text) == (501, "not supported")


@pytest.mark.parametrize("method", [name for name, verb in METHODS.items() if verb == "POST"])
def test_huge_body(ask: Asker, method: str) -> None:
    """A body that no form can have is answered with 413."""
    answer = ask(f"/{method}", f"{RIGHT}&more=".ljust(http.MAX_BODY + 1, "x"))
    assert answer.status_code == 413


def test_largest_body(ask: Asker) -> None:
    """A body of just the size that is allowed is read to its end."""
    rest = f"&{form('nobody')}"
    body = "more=".ljust(http.MAX_BODY - len(rest), "x") + rest
    assert len(body) == http.MAX_BODY
    assert ask("/set_password", body).status_code == 404


def exceptions() -> list[type[errors.LdapAuthError]]:
    """Returns the exceptions that a question can end with."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    found = [kind for kind in classes if issubclass(kind, errors.LdapAuthError)]
    return [kind for kind in found if kind not in (errors.LdapAuthError, errors.ConfigurationError)]


@pytest.mark.parametrize("kind", exceptions())
@pytest.mark.parametrize("method", METHODS)
def test_exception(ask: Asker, mocker: MockerFixture, method: str, kind: type[errors.LdapAuthError]) -> None:
    """Every exception of the package has a status of its own meaning, and an outage says when to ask again."""
    mocker.patch.object(Provider, "_lookup", side_effect=kind("for the operator"))
    answer = ask(f"/{method}", RIGHT)
    assert answer.status_code == STATUSES[kind] != 500
    assert ("Retry-After" in answer.headers) is (answer.status_code == 503)
    assert ("for the operator" in answer.text) is issubclass(kind, errors.ChangeRefused)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("juliet-secret"), id="bug"),
        pytest.param(KeyError("juliet-secret"), id="KeyError"),
        pytest.param(OSError(5, "juliet-secret"), id="OSError"),
        pytest.param(errors.LdapAuthError("juliet-secret"), id="LdapAuthError"),
        pytest.param(errors.ConfigurationError("juliet-secret"), id="ConfigurationError"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_bug(
    ask: Asker, mocker: MockerFixture, caplog: pytest.LogCaptureFixture, method: str, error: Exception
) -> None:
    """What nothing expected is answered with 500; its text, which may quote anything, is neither sent nor logged."""
    mocker.patch.object(Provider, "_lookup", side_effect=error)
    with caplog.at_level(logging.DEBUG):
        answer = ask(f"/{method}", RIGHT)
    assert (answer.status_code, answer.text) == (500, "internal error")
    assert f"event=bug error={type(error).__name__}" in caplog.text
    assert "juliet-secret" not in caplog.text
    assert "juliet-secret" not in everything_in(answer)


def test_after_a_bug(ask: Asker, mocker: MockerFixture) -> None:
    """The question after one that has hit a bug is answered."""
    bug = mocker.patch.object(Provider, "_lookup", side_effect=RuntimeError)
    assert ask("/check_password", RIGHT).status_code == 500
    mocker.stop(bug)
    assert ask("/check_password", RIGHT).data == b"true"


@pytest.mark.parametrize(
    ("path", "arguments", "status"),
    [
        pytest.param("/check_password", {"form": RIGHT}, 200, id="200"),
        pytest.param("/get_certs", {"form": RIGHT}, 200, id="200, empty"),
        pytest.param("/check_password", {}, 400, id="400"),
        pytest.param("/check_password", {"headers": {}}, 401, id="401"),
        pytest.param("/remove_user", {"form": form("nobody")}, 404, id="404"),
        pytest.param("/set_password", {"form": form("juliet", "")}, 403, id="403"),
        pytest.param("/check_password", {"verb": "POST"}, 405, id="405"),
        pytest.param("/check_password", {"verb": "HEAD"}, 405, id="405, HEAD"),
        pytest.param("/register", {"form": form("juliet")}, 409, id="409"),
        pytest.param("/set_password", {"form": "x" * (http.MAX_BODY + 1)}, 413, id="413"),
        pytest.param("/get_password", {"form": RIGHT}, 501, id="501"),
    ],
)
def test_length(ask: Asker, path: str, arguments: dict[str, Any], status: int) -> None:
    """Every answer that may have a body says how long it is, as MongooseIM reads nothing else."""
    answer = ask(path, **arguments)
    assert answer.status_code == status
    assert "Transfer-Encoding" not in answer.headers
    if arguments.get("verb") != "HEAD":
        assert answer.headers["Content-Length"] == str(len(answer.data))


def test_strangers_are_logged(ask: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """Wrong credentials leave a line with the client's address, and without what was sent."""
    with caplog.at_level(logging.INFO):
        ask("/check_password", RIGHT, headers={"Authorization": basic("prosody:wrong")}, REMOTE_ADDR="192.0.2.1")
    (line,) = caplog.messages
    assert re.fullmatch(r"event=unauthorized client=192\.0\.2\.1 id=\d+-\d+", line)


@pytest.mark.usefixtures("logging_as_before")
class TestCreateApp:
    """`create_app`, which gunicorn calls."""

    @pytest.mark.parametrize("named_by", ["argument", "environment"])
    def test_file(
        self, config_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], named_by: str
    ) -> None:
        """The configuration is the file that is given, or the one that `LDAPAUTH_CONFIG` names."""
        monkeypatch.setenv("LDAPAUTH_CONFIG", str(config_path) if named_by == "environment" else "/nonexistent")
        app = http.create_app(str(config_path) if named_by == "argument" else None)
        ask = Asker(app, {"Authorization": basic(configuration.CREDENTIALS)})
        assert ask("/check_password", RIGHT).data == b"true"
        assert "event=check_password" in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("table", "changes", "problems"),
        [
            pytest.param({}, {}, ["http.credentials: is missing"], id="no credentials"),
            pytest.param({"insecure_open": False}, {}, ["http.credentials: is missing"], id="not open"),
            pytest.param({"credentials": "prosody"}, {}, ["http.credentials: expected"], id="no colon"),
            pytest.param(OPEN, {"base_dn": None}, ['domains."example.com".base_dn: is missing'], id="no base DN"),
            pytest.param(OPEN, {"filter": "(uid="}, ['domains."example.com".filter: is not'], id="no filter"),
            pytest.param(
                {"credentials": "x"},
                {"servers": ["ldap://directory.example"], "base_dn": None},
                ["http.credentials", 'domains."example.com".base_dn', 'domains."example.com".servers[0]'],
                id="three mistakes",
            ),
        ],
    )
    def test_mistakes(
        self,
        configured: Callable[..., Path],
        capfd: pytest.CaptureFixture[str],
        table: Mapping[str, Any],
        changes: Mapping[str, Any],
        problems: list[str],
    ) -> None:
        """A configuration that can't be used ends the start with the status that gunicorn gives up at, a line each."""
        with pytest.raises(SystemExit) as exit_:
            http.create_app(str(configured(table, **changes)))
        assert exit_.value.code == 3
        output = capfd.readouterr()
        lines = output.err.replace("\\", "").splitlines()
        assert output.out == ""
        assert len(lines) == len(problems)
        for problem in problems:
            assert any(f' ERROR event=configuration problem="{problem}' in line for line in lines)

    def test_no_file(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A configuration that is not there ends the start likewise."""
        with pytest.raises(SystemExit) as exit_:
            http.create_app("/nonexistent/ldapauth.toml")
        assert exit_.value.code == 3
        assert capfd.readouterr().err.count("\n") == 1

    def test_readable_by_all(self, configured: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
        """A start with a secret that every user of the machine may read goes well, with a warning."""
        file = configured({"credentials": configuration.CREDENTIALS})
        file.chmod(0o644)
        http.create_app(str(file))
        assert "WARNING event=configuration" in capfd.readouterr().err


def test_all_exceptions_are_listed() -> None:
    """The table of this file has every exception that a question can end with."""
    assert set(STATUSES) == set(exceptions())


REQUEST_IDS = ["7b1a", "req:1/2_3.4-5+6", "x" * 64]
NO_REQUEST_IDS = ["", "a=b", "a b", "x" * 65, "a\x1b[2Jb", 'a" verdict=accepted', "\u00e9"]


class TestRequestId:
    """What the log calls a request."""

    @pytest.mark.parametrize("given", REQUEST_IDS)
    def test_given(self, configured: Callable[..., Path], tmp_path: Path, given: str) -> None:
        """What a reverse proxy calls the request is in the lines of the question, and of a request that is refused."""
        assert logged_ids(configured, tmp_path, given) == [given, given]

    @pytest.mark.parametrize("given", NO_REQUEST_IDS)
    def test_made_up(self, configured: Callable[..., Path], tmp_path: Path, given: str) -> None:
        """What can't be a name, or is none, is replaced by one of ours, another one each time."""
        first, second = logged_ids(configured, tmp_path, given)
        assert first != second
        assert re.fullmatch(r"\d+-\d+", first)


def logged_ids(configured: Callable[..., Path], directory: Path, given: str) -> list[str]:
    """What the log calls a question and a request without credentials that are sent with this name."""
    target = directory / "ids.log"
    client = http.build(config.load(str(configured({"credentials": configuration.CREDENTIALS})))).test_client()
    log.configure(config.Log(target=str(target)))
    for credentials in (configuration.CREDENTIALS, "wrong:x"):
        headers = {"X-Request-Id": given, "Authorization": basic(credentials)}
        client.get("/user_exists?user=juliet&server=example.com", headers=headers)
    return re.findall(r" id=(\S+)$", target.read_text(), re.MULTILINE)
