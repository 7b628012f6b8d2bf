"""What `ldapauth demo` does: starts an embedded directory and the app on loopback, and prints what to try.

Owns the two servers' lifetime, their temporary directory, and the printed text. Must not know how questions are
answered: the app is a child process like any other, asked over HTTP. Only this package may import ldaptor and Twisted,
and only `directory.py` does.
"""

import base64
import contextlib
import dataclasses
import http.client
import os
import queue
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import click

HOST = "127.0.0.1"

APP = "ldapauth.frontends.http:create_app()"

_CREDENTIALS = "prosody:demo"
_DOMAIN = "example.com"
_SUFFIX = "dc=example,dc=com"
_PEOPLE_DN = f"ou=people,{_SUFFIX}"
_SERVICE_DN = f"cn=xmpp,ou=services,{_SUFFIX}"

_READY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_STOP_SECONDS = 5.0

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Signals = queue.SimpleQueue[int]


@dataclasses.dataclass(frozen=True, slots=True)
class _Person:
    uid: str
    cn: str
    sn: str
    password: str

    @property
    def mail(self) -> str:
        return f"{self.uid}@{_DOMAIN}"


_PEOPLE = (
    _Person("juliet", "Juliet Capulet", "Capulet", "wherefore"),
    _Person("romeo", "Romeo Montague", "Montague", "rosaline"),
    _Person("nurse", "Angelica", "Nurse", "two may keep counsel"),
    _Person("mercutio", "Mercutio", "Escalus", "queen-mab"),
    _Person("d'artagnan", "Charles d'Artagnan", "d'Artagnan", "one-for-all"),
)


def run(http_port: int = 8389, ldap_port: int = 3389) -> int:
    """Runs the demo until a signal ends it, and returns the exit status.

    Args:
        http_port: Where the app is to listen; a free port is taken in place of one that can't be had.
        ldap_port: Where the directory is to listen; likewise.
    """
    with _signals() as arrived:
        try:
            from .directory import Directory  # noqa: PLC0415 - it needs what only the extra installs
        except ModuleNotFoundError:
            click.echo("the demo needs more packages: run `make demo` in a checkout", err=True)
            return 2
        with tempfile.TemporaryDirectory(prefix="ldapauth-demo-") as home:
            service_password = secrets.token_urlsafe(16)
            ldif = _write(Path(home, "directory.ldif"), _ldif(service_password))
            with Directory(ldif.read_bytes(), ldap_port) as directory:
                config = _write(Path(home, "ldapauth.toml"), _toml(directory.port, service_password))
                port = _available(http_port)
                notes = [*_moved(http_port, port), *_moved(ldap_port, directory.port)]
                with _gunicorn(port, config) as child:
                    return _attend(child, arrived, port, [*notes, *_text(port, directory.port, config)])


def _attend(child: "subprocess.Popen[bytes]", arrived: _Signals, port: int, text: list[str]) -> int:
    """Prints the text when everything answers, waits for the end, and returns the exit status."""
    status = None
    give_up = time.monotonic() + _READY_SECONDS
    while status is None and not _answers(port):
        if time.monotonic() > give_up:
            click.echo(f"the demo gives up: the app has not answered in {_READY_SECONDS:.0f} seconds", err=True)
            return 1
        status = _pause(child, arrived, _POLL_SECONDS)
    if status is None:
        click.echo("\n".join(text))
    while status is None:
        status = _pause(child, arrived, None)
    return status


def _pause(child: "subprocess.Popen[bytes]", arrived: _Signals, seconds: float | None) -> int | None:
    """Waits for a signal, for so long or for ever; the exit status if something says to end."""
    try:
        number = arrived.get(timeout=seconds)
    except queue.Empty:
        return None
    if number in _ENDING:
        return 0
    code = child.poll()  # SIGCHLD; a child that was only stopped or continued has none
    if code is not None:
        click.echo(f"gunicorn has ended by itself, with exit code {code}", err=True)
        return 1
    return None


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    """Collects the signals that end the demo, and its child's end, in the order of their arrival.

    A handler that only notes the signal interrupts nothing: a second Ctrl-C can't leave half of it behind.
    """
    arrived: _Signals = queue.SimpleQueue()  # its put may be called from a handler, whatever is under way
    previous = {
        number: signal.signal(number, lambda number, _frame: arrived.put(number))
        for number in (*_ENDING, signal.SIGCHLD)
    }
    try:
        yield arrived
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _gunicorn(port: int, config: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The app's process. It has a session of its own, for a Ctrl-C is ours to pass on, in order."""
    settings = _write(config.with_name("gunicorn.conf.py"), _GUNICORN_SETTINGS)
    switches = ["--config", str(settings), "--bind", f"{HOST}:{port}", "--log-level", "warning"]
    switches += ["--worker-class", "gthread", "--workers", "1", "--threads", "8", "--limit-request-line", "8190"]
    environment = {name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
    child = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        [sys.executable, "-m", "gunicorn", *switches, APP],
        env={**environment, "LDAPAUTH_CONFIG": str(config)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # as a rule, nobody is left in its group
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


# A file, not switches: it keeps gunicorn from reading the gunicorn.conf.py of the directory that the demo was started
# in. And gunicorn before 25.1 passes over the first name in it, but would end at its switch (--no-control-socket).
_GUNICORN_SETTINGS = """\
control_socket_disable = True  # its place would be the user's home directory
accesslog = None
graceful_timeout = 2
"""


def _answers(port: int) -> bool:
    """Whether the app answers a question, for which it must have asked the directory."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    token = base64.b64encode(_CREDENTIALS.encode()).decode()
    try:
        query = urllib.parse.urlencode({"user": "juliet", "server": _DOMAIN})
        connection.request("GET", f"/user_exists?{query}", headers={"Authorization": f"Basic {token}"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _available(port: int) -> int:
    """The port, or a free one if it can't be had."""
    for candidate in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, candidate))
                return int(probe.getsockname()[1])
    return port  # gunicorn will say what is wrong


def _moved(wanted: int, got: int) -> list[str]:
    return [] if got == wanted else [f"Port {wanted} can't be had, so it is {got} below."]


def _write(path: Path, text: str) -> Path:
    """Writes a file that nobody else may read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def _ldif(service_password: str) -> str:
    """The directory's entries."""
    people = [
        _entry(
            f"uid={person.uid},{_PEOPLE_DN}",
            "inetOrgPerson",
            uid=person.uid,
            cn=person.cn,
            sn=person.sn,
            mail=person.mail,
            userPassword=person.password,
        )
        for person in _PEOPLE
    ]
    return "".join(
        [
            _entry(_SUFFIX, "domain", dc="example"),
            _entry(f"ou=services,{_SUFFIX}", "organizationalUnit", ou="services"),
            _entry(_SERVICE_DN, "applicationProcess", cn="xmpp", userPassword=service_password),
            _entry(_PEOPLE_DN, "organizationalUnit", ou="people"),
            *people,
        ]
    )


def _entry(dn: str, object_class: str, **attributes: str) -> str:
    """An entry as LDIF; the values are plain ASCII, which needs no encoding."""
    values = [f"{name}: {value}" for name, value in attributes.items()]
    return "\n".join([f"dn: {dn}", f"objectClass: {object_class}", *values, "", ""])


def _toml(ldap_port: int, service_password: str) -> str:
    """The program's configuration."""
    return f"""\
[http]
credentials = "{_CREDENTIALS}"

[domains."{_DOMAIN}"]
servers = ["ldap://{HOST}:{ldap_port}"]
bind_dn = "{_SERVICE_DN}"
bind_password = "{service_password}"
base_dn = "{_PEOPLE_DN}"
filter = "(&(objectClass=inetOrgPerson)(uid={{user}}))"
operations = ["check_password", "user_exists", "set_password", "register", "remove_user"]
"""


def _text(port: int, ldap_port: int, config: Path) -> list[str]:
    """What is printed when everything runs."""
    helper = shlex.quote(_typed(Path(sys.executable).with_name("ldapauth-generic")))
    return [
        f"The app answers on http://{HOST}:{port}, the directory on ldap://{HOST}:{ldap_port} ({_SUFFIX}, in memory),",
        f"and the configuration is {config}.",
        "",
        f"{'User':12}{'Password':24}Mail",
        *(f"{person.uid:12}{person.password:24}{person.mail}" for person in _PEOPLE),
        "",
        "Questions over HTTP, to be asked in this order, each below what it answers:",
        "",
        *(line for answer, command in _examples(port) for line in (f"  # {answer}", f"  {command}")),
        "",
        "A question on the helper's standard input; it answers 1:",
        "",
        f"  echo 'auth:juliet:{_DOMAIN}:{_PEOPLE[0].password}' | LDAPAUTH_CONFIG={shlex.quote(str(config))} {helper}",
        "",
        "Ctrl-C ends it.",
    ]


def _examples(port: int) -> Iterator[tuple[str, str]]:
    """Answers, each with the command that gets it; a command may need the ones before it."""
    juliet, _, _, mercutio, artagnan = _PEOPLE
    escaped = artagnan.uid.replace("'", r"\27")  # as an XMPP server sends it: XEP-0106
    yield "200 true", _get(port, "check_password", juliet.uid, juliet.password)
    yield "200 false", _get(port, "check_password", juliet.uid, "guess")
    yield "200 true", _get(port, "check_password", escaped, artagnan.password)
    yield "200 true", _get(port, "user_exists", "romeo")
    yield "200 false", _get(port, "user_exists", "tybalt")
    yield "204", _post(port, "set_password", "nurse", "farewell")
    yield "200 true", _get(port, "check_password", "nurse", "farewell")
    yield "201", _post(port, "register", "tybalt", "prince-of-cats")
    yield "204", _post(port, "remove_user", "tybalt")
    yield "204", _post(port, "remove_user_validate", mercutio.uid, mercutio.password)
    yield "501", _get(port, "get_password", juliet.uid)


def _get(port: int, method: str, user: str, password: str | None = None) -> str:
    return _curl(f"http://{HOST}:{port}/{method}?{_form(user, password)}")


def _post(port: int, method: str, user: str, password: str | None = None) -> str:
    return _curl(f"http://{HOST}:{port}/{method}", f"-d '{_form(user, password)}'")


def _curl(url: str, *options: str) -> str:
    """A command that shows the body, and the status behind it: most changes are answered without a body."""
    return " ".join([f"curl -u {_CREDENTIALS} '{url}'", *options, r"-w ' %{http_code}\n'"])


def _form(user: str, password: str | None) -> str:
    fields = {"user": user, "server": _DOMAIN} | ({} if password is None else {"pass": password})
    return urllib.parse.urlencode(fields)


def _typed(path: Path) -> str:
    """The path as it is typed in the current directory."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
