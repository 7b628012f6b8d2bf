"""No secret is where it must not be: every door is driven, in all ways that end in a log line, and all is searched.

Each thing that is done has a password of its own, so that one that shows says which it was.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import pty
import secrets
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w

from ldapauth import config
from ldapauth.config import Secret
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory
from ldapauth.errors import ConfigurationError, LdapAuthError
from ldapauth.frontends import command
from ldapauth.provider import Provider
from tests import configuration
from tests.integration import silent_directory
from tests.servers.gunicorn import ROOT, Gunicorn, basic, raw
from tests.servers.people import Person
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.slapd import Slapd

_RUN = secrets.token_hex(8)


def secret(name: str) -> str:
    """Returns a password that is found nowhere by accident: letters and digits, which are written alike everywhere."""
    return "s" + hashlib.sha256(f"{_RUN} {name}".encode()).hexdigest()[:20]


def basic_secret(name: str) -> str:
    """Returns an `Authorization` header with a password in its credentials."""
    return f"Authorization: {basic(f'prosody:{secret(name)}')}"


def forms_of(text: str) -> list[str]:
    """Returns what shows a text: itself, and what base64 makes of it, whatever stands in front of it and behind."""
    forms = [text]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + text.encode()).decode()
        forms.append(encoded[(0, 2, 3)[shift] : (shift + len(text)) * 8 // 6])
    return forms


Evidence = Mapping[str, str]
"""What was written, by the place where it was."""


def found(name: str, evidence: Evidence) -> list[str]:
    """Returns where a secret shows: the place and the line."""
    forms = forms_of(secret(name))
    return [
        f"{place}: {line}"
        for place, text in evidence.items()
        for line in text.splitlines()
        if any(form in line for form in forms)
    ]


def command_lines() -> str:
    """Returns the command lines of all processes there are."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes().decode(errors="replace").replace("\0", " "))
    return "\n".join(lines)


HTTP_CREDENTIALS, METRICS, BIND, WRONG_BIND = "HTTP credentials", "metrics", "bind password", "refused bind password"
OURS = [HTTP_CREDENTIALS, METRICS, BIND, WRONG_BIND]

KNOWN = {"right": "right password", "same": "refused by policy", "kept": "password of an account that is kept"}
"""The people in the directory, and what their passwords are called."""


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """A directory with a policy, in which the people and the service account have secrets for passwords."""
    people = [Person(uid, uid, uid, f"{uid}@example.com", secret(name)) for uid, name in KNOWN.items()]
    with Slapd(ppolicy=True, extra_ldif="".join(one.ldif for one in people)) as server:
        server.modify_ldif(f"dn: {server.service_dn}\nreplace: userPassword\nuserPassword: {secret(BIND)}\n")
        yield server


@pytest.fixture(scope="module")
def domains(slapd: Slapd) -> Iterator[dict[str, dict[str, Any]]]:
    """The tables of the domains: each is another state that a directory may be in."""
    table = partial(configuration.domain_table, slapd, bind_password=secret(BIND))
    with silent_directory() as silent:
        yield {
            configuration.DOMAIN: table(),
            "few.example": table(operations=None),
            "down.example": table(servers=[f"ldap://{LOOPBACK}:{free_port()}"]),
            "silent.example": table(servers=[silent], deadline=0.3),
            "hanging.example": table(servers=[silent], connect_timeout=60.0, deadline=60.0),
            "wrong.example": table(bind_password=secret(WRONG_BIND)),
        }


Configured = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def configured(domains: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Configured:
    """Writes a configuration that logs everything to a target; gives it, and the log's file if that is the target."""

    def write(target: str) -> tuple[Path, Path]:
        directory = tmp_path_factory.mktemp("secrets")
        log = directory / "ldapauth.log"
        sections: dict[str, Any] = {
            "http": {"credentials": f"prosody:{secret(HTTP_CREDENTIALS)}", "deadline": 60.0},
            "metrics": {"credentials": f"prometheus:{secret(METRICS)}"},
            "log": {"level": "debug", "target": str(log) if target == "file" else target},
            "domains": domains,
        }
        return configuration.write(directory, {}, **sections), log

    return write


def query(user: str, password: str, domain: str = configuration.DOMAIN) -> str:
    """Returns the parameters of a question."""
    return f"user={user}&server={domain}&pass={password}"


AUTHORIZATION = basic_secret(HTTP_CREDENTIALS)


def get(parameters: str | bytes, *headers: str, method: str = "check_password", separator: str = "?") -> bytes:
    """Returns a GET as it goes over the wire."""
    octets = parameters.encode() if isinstance(parameters, str) else parameters
    return raw("GET", f"/{method}{separator}".encode() + octets, *(headers or [AUTHORIZATION]), "Connection: close")


def post(parameters: str, *headers: str, method: str = "set_password") -> bytes:
    """Returns a POST as it goes over the wire, with the right length or with other headers."""
    headers = headers or (f"Content-Length: {len(parameters)}",)
    return raw("POST", f"/{method}", AUTHORIZATION, *headers, body=parameters.encode())


def of_right(password: str) -> str:
    """Returns the parameters of a question about the one whose password is known."""
    return query("right", password)


REQUESTS: dict[str, Callable[[str], bytes]] = {
    "right password": lambda it: get(of_right(it)),
    "wrong password": lambda it: get(of_right(it)),
    "odd password": lambda it: get(of_right(f"%26{it}%C3%A4+%20%3F{it}")),
    "nobody": lambda it: get(query("nobody", it)),
    "other domain": lambda it: get(query("right", it, "other.example")),
    "new password": lambda it: post(query("kept", it)),
    "refused by policy": lambda it: post(query("same", it)),
    "SCRAM": lambda it: post(of_right(f"==SCRAM==,{it},x,y,4096")),
    "new account": lambda it: post(query("new", it), method="register"),
    "account that is there": lambda it: post(query("kept", it), method="register"),
    "impossible account": lambda it: post(query("%00", it), method="register"),
    "wrong password of a removal": lambda it: post(query("kept", it), method="remove_user_validate"),
    "removal of nobody": lambda it: post(query("nobody", it), method="remove_user_validate"),
    "switched off": lambda it: post(query("right", it, "few.example")),
    "directory down": lambda it: get(query("right", it, "down.example")),
    "directory silent": lambda it: get(query("right", it, "silent.example")),
    "change, directory silent": lambda it: post(query("right", it, "silent.example")),
    "service account refused": lambda it: get(query("right", it, "wrong.example")),
    "wrong verb": lambda it: get(of_right(it), method="set_password"),
    "unknown verb": lambda it: get(of_right(it)).replace(b"GET", b"BREW"),
    "unknown method": lambda it: get(of_right(it), method="get_password"),
    "slash behind": lambda it: get(of_right(it), method="check_password/"),
    "slash in front": lambda it: get(of_right(it), method="/check_password"),
    "line break in the path": lambda it: get(of_right(it), method="check_password%0a"),
    "encoded question mark": lambda it: get(of_right(it), separator="%3F"),
    "number sign": lambda it: get(of_right(it), separator="#"),
    "absolute target": lambda it: raw("GET", f"http://localhost/check_password?{of_right(it)}", AUTHORIZATION),
    "parameters in a POST's query": lambda it: raw("POST", f"/set_password?{of_right(it)}", AUTHORIZATION),
    "repeated parameter": lambda it: get(f"{of_right(it)}&user=x"),
    "not UTF-8": lambda it: get(of_right(f"{it}%ff")),
    "missing parameter": lambda it: get(f"user=right&pass={it}"),
    "referrer": lambda it: get(
        of_right("x"), AUTHORIZATION, f"Referer: http://localhost/check_password?{of_right(it)}"
    ),
    "no credentials": lambda it: get(of_right(it), "X: y"),
    "wrong credentials": lambda _: get(of_right("x"), basic_secret("wrong credentials")),
    "broken credentials": lambda it: get(of_right("x"), f"Authorization: Basic {it}!!!"),
    "other scheme": lambda it: get(of_right("x"), f"Authorization: Bearer {it}"),
    "NUL in the credentials": lambda it: get(of_right("x"), f"Authorization: Basic {it}\0"),
    "credentials without a colon": lambda it: get(of_right("x"), f"Authorization Basic {it}"),
    "credentials with a space": lambda it: get(of_right("x"), f"Authorization {basic(it)}: x"),
    "raw byte": lambda it: get(of_right(it).encode() + b"\xc3\xa4"),
    "raw space": lambda it: get(of_right(f"x {it}")),
    "raw spaces": lambda it: get(of_right(f"x y {it}")),
    "raw tab": lambda it: get(of_right(f"x\t{it}")),
    "line breaks of Unix": lambda it: get(of_right(it)).replace(b"\r\n", b"\n"),
    "HTTP/0.9": lambda it: get(of_right(it)).partition(b" HTTP/")[0] + b"\r\n\r\n",
    "long request line": lambda it: get(of_right(it * 1000)),
    "half a request line": lambda it: get(of_right(it)).partition(b" HTTP/")[0],
    "half the headers": lambda it: get(of_right("x"), f"Authorization: {basic(f'prosody:{it}')}")[:-4],
    "line protocol": lambda it: f"auth:right:example.com:{it}\r\n\r\n".encode(),
    "huge body": lambda it: post(of_right(it * 5000)),
    "length of less": lambda it: post(f"{of_right(it)}\r\n\r\n", "Content-Length: 4"),
    "length of less, no end": lambda it: post(of_right(it), "Content-Length: 4"),
    "length of more": lambda it: post(query("nobody", it), "Content-Length: 500"),
    "no length": lambda it: post(f"{of_right(it)}\r\n\r\n", "X: y"),
    "wrong length": lambda it: post(of_right(it), f"Content-Length: {it}"),
    "chunks": lambda it: post(f"3c\r\n{query('nobody', it):60}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "chunk without a size": lambda it: post(f"{of_right(it)}\r\n", "Transfer-Encoding: chunked"),
    "chunk of less": lambda it: post(f"4\r\n{of_right(it)}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "chunk of more": lambda it: post(f"ff\r\n{of_right(it)}\r\n", "Transfer-Encoding: chunked"),
}

# With `APP` and a synchronous worker.
BUGS: dict[str, Callable[[str], bytes]] = {
    "bug": lambda it: post(query("new", it), method="register"),
    "bug outside Flask": lambda it: get(of_right(it), method="outside"),
    "worker time-out": lambda it: get(query("right", it, "hanging.example")),
}

APP = """\
from ldapauth.frontends import http
from ldapauth.provider import Provider

def bug(self, local_part, domain, password, deadline):
    raise RuntimeError(f"{{local_part}} {{password}}")

def app(environ, start_response):
    if environ["PATH_INFO"] == "/outside":
        raise RuntimeError("outside")
    return answer(environ, start_response)

Provider.register = bug
{more}
answer = http.create_app()
"""
WITHOUT_REDACTION = "http.strip_queries = lambda: None"

# A worker that hangs is noticed after as many seconds, at least.
SYNC: Mapping[str, str | int] = {"worker-class": "sync", "threads": 1, "timeout": 1, "graceful-timeout": 1}


def drive(server: Gunicorn, names: Mapping[str, Callable[[str], bytes]]) -> None:
    """Sends requests, each with its own secret."""
    for name, request in names.items():
        server.exchange(request(secret(name)), seconds=60.0)


def evidence_of(server: Gunicorn) -> dict[str, str]:
    """Returns what a gunicorn has written, and all command lines."""
    return {
        "access log": server.access_log,
        "error log": server.error_log,
        "output": server.output,
        "command lines": command_lines(),
    }


@contextlib.contextmanager
def buggy_gunicorn(config_path: Path, more: str = "") -> Iterator[Gunicorn]:
    """Runs the app with bugs in it, and more changes, in a synchronous worker."""
    module = config_path.parent / f"app_{secrets.token_hex(4)}.py"
    module.write_text(APP.format(more=more))
    options = {**SYNC, "pythonpath": f"{module.parent},{ROOT}"}
    with Gunicorn(config_path, app=f"{module.stem}:app", options=options) as server:
        yield server


@pytest.fixture(scope="module")
def http_evidence(configured: Configured) -> Evidence:
    """What is left of all requests that go well or are refused."""
    file, log = configured("file")
    with Gunicorn(file) as server:
        drive(server, REQUESTS)
        return {**evidence_of(server), "app log": log.read_text()}


@pytest.fixture(scope="module")
def bug_evidence(configured: Configured) -> Evidence:
    """What is left of the requests that end in a bug, or in a worker's death."""
    with buggy_gunicorn(configured("stderr")[0]) as server:
        drive(server, BUGS)
        return evidence_of(server)


@pytest.fixture(scope="module")
def leaking_evidence(configured: Configured) -> Evidence:
    """What is left of some requests when the app does not redact the server's logs."""
    with buggy_gunicorn(configured("stderr")[0], WITHOUT_REDACTION) as server:
        drive(server, {name: REQUESTS[name] for name in ("right password", "referrer", "raw byte")})
        drive(server, {name: BUGS[name] for name in ("bug outside Flask", "worker time-out")})
        return evidence_of(server)


class TestHttp:
    """gunicorn, with its own format of an access log, and an error log at the level of debugging."""

    @pytest.mark.parametrize("name", [*REQUESTS, *OURS])
    def test_requests(self, http_evidence: Evidence, name: str) -> None:
        """No request leaves a password or credentials in any log or command line, however it ends."""
        assert found(name, http_evidence) == []

    @pytest.mark.parametrize("name", [*BUGS, *OURS])
    def test_bugs(self, bug_evidence: Evidence, name: str) -> None:
        """A bug, or the death of a worker with a question under way, leaves none either."""
        assert found(name, bug_evidence) == []

    @pytest.mark.parametrize(
        ("place", "lines"),
        [
            ("access log", ['"GET /check_password?… HTTP/1.1" 200 4', '"GET /get_password?… HTTP/1.1" 501']),
            ("error log", ["Invalid request from", "Ignored premature client disconnection", "too large"]),
            ("app log", ["event=check_password", "verdict=accepted", "event=server-failed", "event=unauthorized"]),
        ],
    )
    def test_requests_are_logged(self, http_evidence: Evidence, place: str, lines: Sequence[str]) -> None:
        """The logs in which nothing is found are not empty."""
        assert all(line in http_evidence[place] for line in lines)

    def test_bugs_are_logged(self, bug_evidence: Evidence) -> None:
        """A bug and a worker's death are in the logs, without the query of the request."""
        assert "event=bug error=RuntimeError" in bug_evidence["output"]
        assert "Error handling request GET /outside?…" in bug_evidence["error log"]
        assert "Error handling request GET /check_password?…" in bug_evidence["error log"]

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("right password", "access log"),
            ("referrer", "access log"),
            ("raw byte", "error log"),
            ("bug outside Flask", "error log"),
            ("worker time-out", "error log"),
        ],
    )
    def test_without_redaction(self, leaking_evidence: Evidence, name: str, place: str) -> None:
        """Without the redaction the same search finds the same passwords in gunicorn's logs."""
        assert any(line.startswith(f"{place}: ") for line in found(name, leaking_evidence))


@dataclass(frozen=True)
class Protocol:
    """A helper's protocol.

    Attributes:
        program: The installed program.
        framed: Puts a command into a frame.
        answer_size: How many bytes an answer has.
        no: The answer "no".
    """

    program: str
    framed: Callable[[bytes], bytes]
    answer_size: int
    no: bytes


PROTOCOLS = {
    "generic": Protocol("ldapauth-generic", lambda text: text + b"\n", 2, b"0\n"),
    "ejabberd": Protocol("ldapauth-ejabberd", lambda text: len(text).to_bytes(2, "big") + text, 4, b"\x00\x02\x00\x00"),
}

COMMANDS: dict[str, str] = {
    "right password": "auth:right:example.com:{}",
    "helper: wrong password": "auth:right:example.com:{}",
    "helper: odd password": "auth:right:example.com:ä:{}: ",
    "helper: nobody": "auth:nobody:example.com:{}",
    "helper: other domain": "auth:right:other.example:{}",
    "helper: new password": "setpass:kept:example.com:{}",
    "refused by policy": "setpass:same:example.com:{}",
    "helper: SCRAM": "setpass:kept:example.com:==SCRAM==,{}",
    "helper: new account": "tryregister:helper:example.com:{}",
    "helper: account that is there": "tryregister:kept:example.com:{}",
    "helper: wrong password of a removal": "removeuser3:kept:example.com:{}",
    "helper: certificate": "certauth:right:example.com:{}",
    "helper: switched off": "setpass:right:few.example:{}",
    "helper: directory down": "auth:right:down.example:{}",
    "helper: directory silent": "auth:right:silent.example:{}",
    "helper: service account refused": "auth:right:wrong.example:{}",
    "helper: unknown command": "login:right:example.com:{}",
    "helper: no command": "{}",
    "helper: missing field": "auth:{}",
    "helper: not UTF-8": "auth:right:example.com:{}\udcff",
    "helper: upper case": "AUTH:right:example.com:{}",
}
CUT = "helper: end of input"
HELPER_BUG = "helper: bug"

HELPER_WITH_BUG = """\
from ldapauth.provider import Provider

def bug(self, local_part, domain, password, deadline):
    raise RuntimeError(password)

Provider.check_password = bug
from ldapauth.frontends import helper
helper.{protocol}()
"""


def converse(
    arguments: Sequence[str], protocol: Protocol, texts: Sequence[bytes], last: bytes, config_path: Path
) -> dict[str, str]:
    """Has a helper answer commands, ends its input within the last one, and returns what it wrote but for answers."""
    environment = {**os.environ, "LDAPAUTH_CONFIG": str(config_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, env=environment, **pipes) as process:  # type: ignore[call-overload] # pipes are
        answers = b""
        for text in texts:
            process.stdin.write(protocol.framed(text))
            process.stdin.flush()
            answers += process.stdout.read(protocol.answer_size)
        lines = command_lines()
        rest, errors = process.communicate(protocol.framed(last)[:-1])
    assert len(answers) == protocol.answer_size * len(texts)
    assert rest == protocol.no
    return {"standard error": errors.decode(), "command lines": lines}


def texts_of(names: Mapping[str, str]) -> list[bytes]:
    """Returns commands, each with its own secret."""
    return [text.format(secret(name)).encode(errors="surrogateescape") for name, text in names.items()]


def script(name: str) -> str:
    """Returns the path of an installed program of the package."""
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="module", params=[("generic", "file"), ("ejabberd", "stderr")], ids="-".join)
def helper_evidence(request: pytest.FixtureRequest, configured: Configured) -> Evidence:
    """What a helper has written, with its log in a file or on standard error."""
    name, target = request.param
    file, log = configured(target)
    protocol = PROTOCOLS[name]
    last = f"auth:right:example.com:{secret(CUT)}".encode()
    served = converse([script(protocol.program)], protocol, texts_of(COMMANDS), last, file)
    with_bug = HELPER_WITH_BUG.format(protocol=name)
    bug = f"auth:right:example.com:{secret(HELPER_BUG)}".encode()
    failed = converse([sys.executable, "-c", with_bug], protocol, [bug], last, file)
    both = {f"{place} {number}": text for number, one in enumerate([served, failed]) for place, text in one.items()}
    return {**both, "log": log.read_text() if log.exists() else served["standard error"] + failed["standard error"]}


class TestHelpers:
    """`ldapauth-generic` and `ldapauth-ejabberd`, with a log at the level of debugging."""

    @pytest.mark.parametrize("name", [*COMMANDS, CUT, HELPER_BUG, *OURS])
    def test_commands(self, helper_evidence: Evidence, name: str) -> None:
        """No command leaves a password in the log, on standard error or in a command line, however it ends."""
        assert found(name, helper_evidence) == []

    @pytest.mark.parametrize(
        "line",
        [
            "verdict=accepted",
            "verdict=refused",
            "verdict=unavailable",
            "event=malformed",
            "event=bug error=RuntimeError",
        ],
    )
    def test_commands_are_logged(self, helper_evidence: Evidence, line: str) -> None:
        """The log in which nothing is found is not empty."""
        assert line in helper_evidence["log"]


def type_password(arguments: Sequence[str], password: str) -> str:
    """Runs a program on a terminal, types a password when it asks for one, and returns what the terminal shows."""
    master, slave = pty.openpty()
    try:
        with subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
            os.close(slave)
            shown = b""
            while b"Password: " not in shown and (piece := read_terminal(master)):
                shown += piece
            lines = command_lines()
            os.write(master, password.encode() + b"\n")
            shown += b"".join(iter(partial(read_terminal, master), b""))
            process.wait()
    finally:
        os.close(master)
    return shown.decode(errors="replace") + lines


def read_terminal(descriptor: int) -> bytes:
    """Returns what a terminal shows next, and nothing when no program is left on it."""
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO
        return b""


class TestCommands:
    """`ldapauth config` and `ldapauth check`."""

    def test_config(self, configured: Configured) -> None:
        """The settings in effect are shown without the secrets among them."""
        file, _ = configured("stderr")
        done = subprocess.run([script("ldapauth"), "--config", str(file), "config"], capture_output=True, check=True)
        assert b'bind_password = "***"' in done.stdout
        evidence = {"output": done.stdout.decode(), "errors": done.stderr.decode()}
        assert [found(one, evidence) for one in OURS] == [[]] * len(OURS)

    @pytest.mark.parametrize(
        ("name", "jid", "outcome"),
        [
            ("right password", "right@example.com", "accepted"),
            ("check: wrong password", "right@example.com", "refused"),
            ("check: directory down", "right@down.example", "no answer"),
            ("check: directory silent", "right@silent.example", "no answer"),
            ("check: service account refused", "right@wrong.example", "no answer"),
        ],
    )
    def test_check(self, configured: Configured, name: str, jid: str, outcome: str) -> None:
        """A password that is typed is neither echoed nor shown, whatever comes of it."""
        file, log = configured("file")
        shown = type_password([script("ldapauth"), "--config", str(file), "check", jid], secret(name))
        assert f"\n{outcome}" in shown
        evidence = {"terminal": shown, "log": log.read_text() if log.exists() else ""}
        assert [found(one, evidence) for one in (name, *OURS)] == [[]] * (1 + len(OURS))


QUESTIONS: dict[str, Callable[[Provider, str, Deadline], object]] = {
    "provider: directory down": lambda ask, it, due: ask.check_password("right", "down.example", it, due),
    "provider: directory silent": lambda ask, it, due: ask.check_password("right", "silent.example", it, due),
    "provider: service account refused": lambda ask, it, due: ask.check_password("right", "wrong.example", it, due),
    "provider: switched off": lambda ask, it, due: ask.set_password("right", "few.example", it, due),
    "provider: nobody": lambda ask, it, due: ask.set_password("nobody", configuration.DOMAIN, it, due),
    "refused by policy": lambda ask, it, due: ask.set_password("same", configuration.DOMAIN, it, due),
    "provider: SCRAM": lambda ask, it, due: ask.set_password("same", configuration.DOMAIN, f"==SCRAM==,{it}", due),
    "provider: taken": lambda ask, it, due: ask.register("right", configuration.DOMAIN, it, due),
    "provider: removal": lambda ask, it, due: ask.remove_user("same", configuration.DOMAIN, due, password=it),
    "provider: change, silent": lambda ask, it, due: ask.set_password("right", "silent.example", it, due),
}


def below(value: object, seen: set[int]) -> Iterator[object]:
    """Gives every object of the package that another one holds, itself included."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    elif type(value).__module__.startswith("ldapauth"):
        yield value
        names = [
            *getattr(value, "__dict__", {}),
            *getattr(value, "__slots__", ()),
            *getattr(value, "__struct_fields__", ()),
        ]
        inner = [] if isinstance(value, Secret) else [getattr(value, name) for name in names]
    else:
        return
    for one in inner:
        yield from below(one, seen)


@pytest.fixture(scope="module")
def settings(configured: Configured) -> config.Settings:
    """Settings with secrets in them."""
    return config.load(str(configured("none")[0]))


@pytest.fixture(scope="module")
def provider(settings: config.Settings) -> Provider:
    """A provider that has them."""
    return Provider(settings)


class TestObjects:
    """What a debugger, a traceback with variables, or a careless log line would show."""

    @pytest.mark.parametrize("name", OURS)
    def test_repr(self, settings: config.Settings, provider: Provider, name: str) -> None:
        """No object that holds the settings shows a secret in its `repr`, nor in its `str`."""
        objects = list(below([settings, provider], set()))
        assert {config.Settings, config.Domain, config.Http, Secret, Provider, Directory} <= set(map(type, objects))
        assert found(name, {"repr": "\n".join(f"{one!r} {one!s}" for one in objects)}) == []

    def test_repr_of_secret(self) -> None:
        """A secret shows in no way of turning it into a text, and says that it is one."""
        one = Secret(secret("any"))
        shown = [repr(one), str(one), f"{one}", f"{one!r:>40}", "%s" % one, str([one]), str({"x": one})]  # noqa: UP031
        assert all("***" in text for text in shown)
        assert found("any", {"texts": "\n".join(shown)}) == []

    def test_no_serialisation(self) -> None:
        """A secret can't be written as JSON by accident, not even within the settings."""
        with pytest.raises(TypeError):
            msgspec.json.encode(config.Http(credentials=(Secret("prosody:x"),)))

    @pytest.mark.parametrize("name", COMMANDS)
    def test_repr_of_command(self, name: str) -> None:
        """A parsed command, or what is wrong with one, does not show the password."""
        (text,) = texts_of({name: COMMANDS[name]})
        assert found(name, {"repr": repr(command.parse(text))}) == []

    @pytest.mark.parametrize("name", QUESTIONS)
    def test_exceptions(self, provider: Provider, name: str) -> None:
        """No exception of a question, nor what it was raised from, has a secret in its text."""
        with pytest.raises(LdapAuthError) as caught:
            QUESTIONS[name](provider, secret(name), Deadline.after(2.0))
        shown = {"traceback": "".join(traceback.format_exception(caught.value)), "repr": repr(caught.value)}
        assert [found(one, shown) for one in (name, *OURS)] == [[]] * (1 + len(OURS))


TABLE = {"servers": ["ldap://localhost"], "base_dn": "dc=example,dc=com"}
S = secret("mistake")
MISTAKES: dict[str, str] = {
    "credentials without a colon": f'[http]\ncredentials = "{S}"',
    "credentials in a list of lists": f'[http]\ncredentials = [["prosody:{S}"]]',
    "a list of credentials and open": f'[http]\ncredentials = ["x:{S}", "y:{S}"]\ninsecure_open = true',
    "credentials in a table": f'[http]\ncredentials = {{prosody = "{S}"}}',
    "credentials and open": f'[http]\ncredentials = "prosody:{S}"\ninsecure_open = true',
    "credentials twice": f'[http]\ncredentials = "prosody:{S}"\ncredentials = "prosody:{S}"',
    "credentials unquoted": f"[http]\ncredentials = prosody:{S}",
    "credentials without an end": f'[http]\ncredentials = "prosody:{S}\n',
    "credentials with an escape": f'[http]\ncredentials = "prosody:\\{S}"',
    "credentials under another name": f'[http]\ncredential = "prosody:{S}"',
    "credentials for a truth value": f'[http]\ninsecure_open = "{S}"',
    "credentials for a number": f'[http]\ndeadline = "{S}"',
    "credentials for a level": f'[log]\nlevel = "{S}"',
    "bind password in a list": f'[domains.x]\nbind_password = ["{S}"]',
    "bind password under another name": f'[domains.x]\nbindpw = "{S}"',
    "bind password without a DN": f'[domains.x]\nservers = ["ldap://localhost"]\nbase_dn = ""\nbind_password = "{S}"',
    "bind password in an URL": f'[domains.x]\nservers = ["ldap://cn=xmpp:{S}@localhost"]\nbase_dn = ""',
    "bind password behind an URL": f'[domains.x]\nservers = ["ldap://localhost/?bindpw={S}"]\nbase_dn = ""',
    "bind password for an operation": f'[domains.x]\nservers = ["ldap://localhost"]\noperations = ["{S}"]',
    "section": f'http = "{S}"',
    "domain": f'[domains]\nx = "{S}"',
    "domains": f'domains = "{S}"',
}


@pytest.mark.parametrize("text", MISTAKES.values(), ids=MISTAKES)
def test_mistakes(tmp_path: Path, text: str) -> None:
    """What is wrong with a configuration is said without the values in it."""
    file = tmp_path / "ldapauth.toml"
    file.write_text(
        text if "[domains" in text or "domains =" in text else f"{text}\n{tomli_w.dumps({'domains': {'x': TABLE}})}"
    )
    with pytest.raises(ConfigurationError) as caught:
        config.load(str(file))
    shown = "".join(traceback.format_exception(caught.value))
    assert found("mistake", {"text": shown}) == []


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"prosody:"])
@pytest.mark.parametrize("after", [b"", b"x", b"xy"])
def test_search(before: bytes, after: bytes) -> None:
    """The search of these tests finds a secret in base64, whatever is around it."""
    text = base64.b64encode(before + secret("any").encode() + after).decode()
    assert found("any", {"log": f"Authorization: Basic {text}"})
    assert not found("any", {"log": binascii.hexlify(text.encode()).decode()})
