"""The demo: its embedded directory asked by real clients, and the whole of it run as its user runs it."""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ldap3
import pytest

from ldapauth import demo
from ldapauth.demo.directory import Directory
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ProcessInfo, descendants, find_program, process_info, wait_until

PEOPLE = "ou=people,dc=example,dc=com"
JULIET = f"uid=juliet,{PEOPLE}"
ROMEO = f"uid=romeo,{PEOPLE}"
SERVICE = "cn=xmpp,ou=services,dc=example,dc=com"
SERVICE_LOGIN = ("-D", SERVICE, "-w", "service")

LDIF = """\
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: ou=services,dc=example,dc=com
objectClass: organizationalUnit
ou: services

dn: cn=xmpp,ou=services,dc=example,dc=com
objectClass: applicationProcess
cn: xmpp
userPassword: service

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=juliet,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: juliet
cn: Juliet Capulet
sn: Capulet
userPassword: Schlüssel

dn: uid=romeo,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: romeo
cn: Romeo Montague
sn: Montague
userPassword: rosaline

""".encode()

NEW_PERSON = "objectClass: inetOrgPerson\nuid: {uid}\ncn: Someone\nsn: New\nuserPassword: new\n"

SUCCESS, SIZE_LIMIT_EXCEEDED, STRONG_AUTH_REQUIRED, NO_SUCH_OBJECT, INVALID_DN = 0, 4, 8, 32, 34
INVALID_CREDENTIALS, UNWILLING, NOT_ON_NON_LEAF, ALREADY_EXISTS = 49, 53, 66, 68

BIND = bytes.fromhex("300c020101600702010304008000")
"""An anonymous bind with the message id 1."""

BOUND = bytes.fromhex("300c02010161070a010004000400")
"""The answer to it."""


@pytest.fixture
def directory() -> Iterator[Directory]:
    """A directory with the entries of `LDIF`."""
    with Directory(LDIF) as running:
        yield running


Tool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tool(directory: Directory) -> Tool:
    """Runs one of OpenLDAP's tools with the directory."""

    def run(name: str, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        program = find_program(name, "apt-get install ldap-utils")
        url = f"ldap://{LOOPBACK}:{directory.port}"
        command = [program, "-x", "-H", url, *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=False)

    return run


def bind(port: int, dn: str, password: str) -> int:
    """The result code of a bind by ldap3."""
    with ldap3_connection(port) as connection:
        connection.rebind(dn, password)
        return int(connection.result["result"])


@contextlib.contextmanager
def ldap3_connection(port: int) -> Iterator[Any]:
    """An open connection of ldap3's, whose own `with` leaves it open when the last bind was refused."""
    connection = ldap3.Connection(ldap3.Server(LOOPBACK, port, get_info=ldap3.NONE), receive_timeout=10)
    connection.open()
    try:
        yield connection
    finally:
        connection.unbind()


def found(result: "subprocess.CompletedProcess[str]") -> list[str]:
    """The DNs in what ldapsearch prints."""
    return sorted(re.findall(r"^dn: (.*)$", result.stdout, re.MULTILINE))


def test_a_bind_needs_the_right_password(directory: Directory) -> None:
    """Everyone binds with the own password, whatever characters are in it, and with no other."""
    assert bind(directory.port, JULIET, "Schlüssel") == SUCCESS
    assert bind(directory.port, JULIET, "Schlussel") == INVALID_CREDENTIALS
    assert bind(directory.port, JULIET, "rosaline") == INVALID_CREDENTIALS


def test_a_bind_as_nobody_is_refused(directory: Directory) -> None:
    """A DN without an entry gets the answer that a wrong password gets, and text that is no DN another one."""
    assert bind(directory.port, f"uid=nobody,{PEOPLE}", "rosaline") == INVALID_CREDENTIALS
    assert bind(directory.port, "uid=romeo,dc=elsewhere", "rosaline") == INVALID_CREDENTIALS
    assert bind(directory.port, "romeo", "rosaline") == INVALID_DN


def test_a_bind_that_fails_ends_the_one_before(directory: Directory) -> None:
    """After a refused bind the connection is anonymous, as RFC 4513 wants it."""
    with ldap3_connection(directory.port) as connection:
        assert connection.rebind(SERVICE, "service")
        assert not connection.rebind(SERVICE, "wrong")
        connection.extend.standard.modify_password(ROMEO, new_password="new")
        assert connection.result["result"] == STRONG_AUTH_REQUIRED


@pytest.mark.parametrize(
    ("search_filter", "expected"),
    [
        ("(&(objectClass=inetOrgPerson)(uid=juliet))", [JULIET]),
        ("(&(OBJECTCLASS=INETORGPERSON)(UID=Juliet))", [JULIET]),
        ("(|(uid=juliet)(UserID=x)(UID=romeo))", [JULIET, ROMEO]),
        ("(&(objectClass=inetOrgPerson)(uid=nobody))", []),
        ("(&(objectClass=inetOrgPerson)(!(uid=juliet)))", [ROMEO]),
        ("(cn=Juliet Capulet)", [JULIET]),
    ],
)
def test_filters_find_entries(tool: Tool, search_filter: str, expected: list[str]) -> None:
    """A search below the base finds what the filter says, in whatever case its names and values are written."""
    result = tool("ldapsearch", "-LLL", "-b", PEOPLE, "-z", "2", search_filter, "dn")
    assert (result.returncode, found(result)) == (SUCCESS, expected)


def test_a_search_gives_the_attributes_asked_for(tool: Tool) -> None:
    """Only the attributes that are asked for come back, and a search of the base alone finds the base."""
    result = tool("ldapsearch", "-LLL", "-b", JULIET, "-s", "base", "(objectClass=*)", "UID", "mail")
    assert result.stdout == f"dn: {JULIET}\nUID: juliet\n\n"


def test_a_bind_that_succeeds_says_nothing_more(tool: Tool) -> None:
    """OpenLDAP's tools have nothing to remark on a bind."""
    result = tool("ldapsearch", *SERVICE_LOGIN, "-LLL", "-b", JULIET, "(uid=juliet)", "uid")
    assert (result.stdout, result.stderr) == (f"dn: {JULIET}\nuid: juliet\n\n", "")


def test_a_search_below_nothing_finds_no_base(tool: Tool) -> None:
    """A base that is not there is said to be none."""
    assert tool("ldapsearch", "-b", f"ou=nowhere,{PEOPLE}").returncode == NO_SUCH_OBJECT


def test_a_search_stops_at_the_size_limit(tool: Tool) -> None:
    """A search with more results than its limit gives that many, and says that there are more."""
    exceeded = tool("ldapsearch", "-LLL", "-b", PEOPLE, "-z", "1", "(objectClass=inetOrgPerson)", "dn")
    assert (exceeded.returncode, len(found(exceeded))) == (SIZE_LIMIT_EXCEEDED, 1)


@pytest.mark.parametrize("spelling", ["objectClass", "objectclass"])
def test_the_root_dse_offers_the_password_operation(tool: Tool, spelling: str) -> None:
    """The root DSE names RFC 3062, so that clients who look there first use it."""
    result = tool("ldapsearch", "-LLL", "-b", "", "-s", "base", f"({spelling}=*)", "supportedExtension")
    assert "supportedExtension: 1.3.6.1.4.1.4203.1.11.1\n" in result.stdout


def test_a_modified_password_is_the_only_one(directory: Directory, tool: Tool) -> None:
    """After userPassword is replaced one binds with the new password and with none before it, however that was set."""
    assert tool("ldappasswd", *SERVICE_LOGIN, "-s", "second", ROMEO).returncode == 0
    assert bind(directory.port, ROMEO, "second") == SUCCESS
    change = f"dn: {ROMEO}\nchangetype: modify\nreplace: userPassword\nuserPassword: thírd\n"
    assert tool("ldapmodify", *SERVICE_LOGIN, text=change).returncode == 0
    codes = [bind(directory.port, ROMEO, password) for password in ("rosaline", "second", "thírd")]
    assert codes == [INVALID_CREDENTIALS, INVALID_CREDENTIALS, SUCCESS]


def test_a_modification_of_nobody_is_refused(tool: Tool) -> None:
    """What is not there can't be modified."""
    change = f"dn: uid=nobody,{PEOPLE}\nchangetype: modify\nreplace: userPassword\nuserPassword: x\n"
    assert tool("ldapmodify", *SERVICE_LOGIN, text=change).returncode == NO_SUCH_OBJECT


def test_rfc_3062_sets_passwords(directory: Directory, tool: Tool) -> None:
    """The service account sets anybody's password, and everybody the own one."""
    assert tool("ldappasswd", *SERVICE_LOGIN, "-s", "neu-für-Julia", JULIET).returncode == 0
    assert bind(directory.port, JULIET, "Schlüssel") == INVALID_CREDENTIALS
    assert tool("ldappasswd", "-D", JULIET, "-w", "neu-für-Julia", "-a", "neu-für-Julia", "-s", "own").returncode == 0
    assert bind(directory.port, JULIET, "own") == SUCCESS


@pytest.mark.parametrize(
    ("login", "user", "fields", "code"),
    [
        (None, ROMEO, {"new_password": "new"}, STRONG_AUTH_REQUIRED),
        (SERVICE, ROMEO, {"old_password": "wrong", "new_password": "new"}, INVALID_CREDENTIALS),
        (SERVICE, f"uid=nobody,{PEOPLE}", {"new_password": "new"}, NO_SUCH_OBJECT),
        (SERVICE, ROMEO, {}, UNWILLING),
    ],
)
def test_rfc_3062_has_its_refusals(
    directory: Directory, login: str | None, user: str, fields: dict[str, str], code: int
) -> None:
    """Strangers, a wrong old password, nobody's DN and the lack of a new password are refused, and nothing changes."""
    with ldap3_connection(directory.port) as connection:
        if login:
            assert connection.rebind(login, "service")
        connection.extend.standard.modify_password(user, **fields)
        assert connection.result["result"] == code
    assert bind(directory.port, ROMEO, "rosaline") == SUCCESS


def test_accounts_come_and_go(directory: Directory, tool: Tool) -> None:
    """An entry that was added binds, is there only once whatever its case, and after its deletion is not there."""
    dn = f"uid=tybalt,{PEOPLE}"
    entry = NEW_PERSON.format(uid="tybalt")
    assert tool("ldapadd", *SERVICE_LOGIN, text=f"dn: {dn}\n{entry}").returncode == 0
    assert bind(directory.port, dn, "new") == SUCCESS
    for again in (dn, f"uid=Tybalt,{PEOPLE}"):
        assert tool("ldapadd", *SERVICE_LOGIN, text=f"dn: {again}\n{entry}").returncode == ALREADY_EXISTS
    assert tool("ldapdelete", *SERVICE_LOGIN, dn).returncode == 0
    assert bind(directory.port, dn, "new") == INVALID_CREDENTIALS
    assert tool("ldapdelete", *SERVICE_LOGIN, dn).returncode == NO_SUCH_OBJECT


def test_an_entry_needs_a_parent(tool: Tool) -> None:
    """Nothing is added below what is not there."""
    entry = f"dn: uid=lost,ou=nowhere,{PEOPLE}\n" + NEW_PERSON.format(uid="lost")
    assert tool("ldapadd", *SERVICE_LOGIN, text=entry).returncode == NO_SUCH_OBJECT


def test_an_entry_with_others_below_it_stays(tool: Tool) -> None:
    """The deletion of a whole branch is refused, and answered at all."""
    assert tool("ldapdelete", *SERVICE_LOGIN, PEOPLE).returncode == NOT_ON_NON_LEAF


@pytest.mark.parametrize(
    ("uid", "spellings"),
    [
        ("zoë", ["zoë", r"zo\c3\ab", r"zo\C3\AB"]),
        ("d'artagnan", ["d'artagnan", r"d\27artagnan"]),
        ("o,reilly", [r"o\,reilly", r"o\2creilly", r"o\2Creilly"]),
        ("back\\slash", [r"back\\slash", r"back\5cslash"]),
        ("1+1=2", [r"1\+1\=2", r"1\2b1\3d2"]),
    ],
)
def test_a_dn_can_be_written_in_several_ways(directory: Directory, tool: Tool, uid: str, spellings: list[str]) -> None:
    """A name with unusual characters is the same name however RFC 4514 lets its DN be written."""
    for added in spellings:
        entry = f"dn: uid={added},{PEOPLE}\n" + NEW_PERSON.format(uid=uid)
        assert tool("ldapadd", *SERVICE_LOGIN, text=entry).returncode == 0
        assert [bind(directory.port, f"uid={other},{PEOPLE}", "new") for other in spellings] == [0] * len(spellings)
        assert tool("ldapdelete", *SERVICE_LOGIN, f"uid={added},{PEOPLE}").returncode == 0


MALFORMED = {
    "not LDAP": b"GET / HTTP/1.0\r\n\r\n",
    "another tag": b"\x80\x00",
    "an indefinite length": b"\x30\x80\x00\x00",
    "too long": b"\x30\x84\x7f\xff\xff\xff",
    "a length of too many octets": b"\x30\x89" + b"\x01" * 9,
    "an empty message": b"\x30\x00",
    "no operation": b"\x30\x03\x02\x01\x05",
    "an unknown operation": b"\x30\x06\x02\x01\x01\x7f\x01\x00",
    "an element longer than its message": b"\x30\x05\x02\x01\x05\x04\x09",
    "a response": BOUND,
    "an unknown element among the controls": BIND[:1] + b"\x11" + BIND[2:] + b"\xa0\x03\x85\x01\x00",
}


def closes(connection: socket.socket) -> bool:
    """Whether the other end closes the connection without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_not_ldap_ends_its_connection_only(
    directory: Directory, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Malformed bytes close the connection that they came on; the other ones are served, and nothing is printed."""
    with ldap3_connection(directory.port) as other:
        with socket.create_connection((LOOPBACK, directory.port), timeout=10) as connection:
            connection.sendall(sent)
            assert closes(connection)
        assert other.rebind(ROMEO, "rosaline")
    assert bind(directory.port, ROMEO, "rosaline") == SUCCESS
    assert capfd.readouterr() == ("", "")


def test_requests_arrive_in_pieces_and_in_bulk(directory: Directory) -> None:
    """A request is answered when its last byte is there, and several that come at once are all answered."""
    with socket.create_connection((LOOPBACK, directory.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in BIND:
            connection.sendall(bytes([octet]))
        assert connection.recv(len(BOUND), socket.MSG_WAITALL) == BOUND
        connection.sendall(BIND * 3)
        assert connection.recv(3 * len(BOUND), socket.MSG_WAITALL) == BOUND * 3


def test_an_abandoned_request_gets_no_answer(directory: Directory) -> None:
    """After an abandon the next answer is that to the next request."""
    with socket.create_connection((LOOPBACK, directory.port), timeout=10) as connection:
        connection.sendall(bytes.fromhex("3006020102500101") + BIND)
        assert connection.recv(len(BOUND), socket.MSG_WAITALL) == BOUND


def test_a_directory_is_gone_after_its_with() -> None:
    """In the end the port is closed, and the connections, the thread and every descriptor are gone."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with Directory(LDIF) as running:
        idle = socket.create_connection((LOOPBACK, running.port), timeout=10)
    with idle:
        assert closes(idle)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, running.port), timeout=10)
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
    assert "demo directory" not in [thread.name for thread in threading.enumerate()]


def test_a_directory_takes_a_free_port_for_one_that_is_taken(directory: Directory) -> None:
    """A port that another program has is replaced."""
    with Directory(LDIF, directory.port) as second:
        assert second.port != directory.port
        assert bind(second.port, ROMEO, "rosaline") == SUCCESS


@dataclasses.dataclass
class Demo:
    """The demo as a process, in a process group of its own, as a shell starts it."""

    process: "subprocess.Popen[bytes]"
    output: Path
    errors: Path

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text()

    @property
    def config(self) -> Path:
        """The configuration that the printed helper line names."""
        named = re.search(r"LDAPAUTH_CONFIG=(\S+)", self.text)
        assert named
        return Path(named[1])

    def wait_for_commands(self) -> None:
        """Waits until it has printed everything."""
        assert wait_until(lambda: "Ctrl-C ends it." in self.text or self.process.poll() is not None, 40)
        assert self.process.poll() is None, self.errors.read_text()

    def children(self) -> list[ProcessInfo]:
        """The processes that came from it."""
        return descendants(self.process.pid)

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Sends a signal as a terminal does, to the whole group, and returns the exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(20)


StartDemo = Callable[..., Demo]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    """Starts the demo, its temporary directory below this test's."""
    started: list[Demo] = []

    def start(http_port: int, ldap_port: int) -> Demo:
        running = Demo(start_process(http_port, ldap_port), tmp_path / "output", tmp_path / "errors")
        started.append(running)
        return running

    def start_process(http_port: int, ldap_port: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "ldapauth", "demo"]
        command += ["--http-port", str(http_port), "--ldap-port", str(ldap_port)]
        with (tmp_path / "output").open("wb") as output, (tmp_path / "errors").open("wb") as errors:
            environment = {**os.environ, "TMPDIR": str(tmp_path)}
            return subprocess.Popen(
                command, env=environment, stdout=output, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True
            )

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(20)


def assert_nothing_left(running: Demo, children: list[ProcessInfo]) -> None:
    """No process of the demo's is there, no temporary directory, and nothing of a crash on its standard error."""
    assert children
    assert [info for info in children if process_info(info.pid) == info] == []
    assert list(running.output.parent.glob("ldapauth-demo-*")) == []
    assert "Traceback" not in running.errors.read_text()


def shell(line: str) -> str:
    """What a shell command prints."""
    environment = {**os.environ, "no_proxy": LOOPBACK}
    return subprocess.run(
        line, shell=True, env=environment, stdout=subprocess.PIPE, text=True, timeout=30, check=True
    ).stdout


def test_the_demo_keeps_its_promises(start_demo: StartDemo) -> None:
    """Every command that the demo prints answers what is printed with it, and Ctrl-C ends everything."""
    find_program("curl", "apt-get install curl")
    http_port, ldap_port = free_port(), free_port()
    running = start_demo(http_port, ldap_port)
    running.wait_for_commands()
    examples = re.findall(r"# (\d{3}) ?(.*)\n +(curl .*)", running.text)
    for status, body, command in examples:
        assert f"http://{LOOPBACK}:{http_port}/" in command
        given_body, _, given_status = shell(command).strip("\n").rpartition(" ")
        assert (given_status, given_body) == (status, body) or (not body and given_status == status), command
    methods = re.findall(rf":{http_port}/(\w+)", "".join(command for _, _, command in examples))
    assert {*methods} == {
        "check_password", "user_exists", "set_password", "register", "remove_user", "remove_user_validate",
        "get_password",
    }  # fmt: skip
    assert len(examples) == running.text.count("curl ")
    (helper,) = re.findall(r"^ +(echo .*)", running.text, re.MULTILINE)
    assert shell(helper) == "1\n"

    with socket.create_connection((LOOPBACK, ldap_port), timeout=10) as connection:
        connection.sendall(b"not LDAP")  # which would make Twisted print a traceback
        assert closes(connection)
    children = running.children()
    assert running.interrupt() == 0
    assert_nothing_left(running, children)


def test_the_demo_keeps_its_files_to_itself(start_demo: StartDemo) -> None:
    """The temporary directory and the files in it, passwords among them, can be read by nobody else."""
    running = start_demo(free_port(), free_port())
    running.wait_for_commands()
    assert stat.S_IMODE(running.config.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in running.config.parent.iterdir()} == {0o600}


def test_the_demo_shows_whom_one_can_log_in_as(start_demo: StartDemo) -> None:
    """The printed people can bind in the embedded directory with the printed passwords."""
    running = start_demo(free_port(), ldap_port := free_port())
    running.wait_for_commands()
    people = re.findall(r"^(\S+) {2,}(\S.*?) {2,}\1@example\.com$", running.text, re.MULTILINE)
    assert {"juliet", "romeo", "nurse", "mercutio", "d'artagnan"} == {uid for uid, _ in people}
    for uid, password in people:
        assert bind(ldap_port, f"uid={uid},{PEOPLE}", password) == SUCCESS


def test_the_demo_goes_to_free_ports(start_demo: StartDemo) -> None:
    """Where both ports are taken, the demo says so and runs on others; SIGTERM ends it as Ctrl-C does."""
    with socket.create_server((LOOPBACK, 0)) as first, socket.create_server((LOOPBACK, 0)) as second:
        taken = first.getsockname()[1], second.getsockname()[1]
        running = start_demo(*taken)
        running.wait_for_commands()
    for port in taken:
        assert f"Port {port} can't be had" in running.text
        assert f"{LOOPBACK}:{port}" not in running.text
    (command, *_) = re.findall(r"# 200 true\n +(curl .*)", running.text)
    assert shell(command) == "true 200\n"
    children = running.children()
    assert running.interrupt(signal.SIGTERM) == 0
    assert_nothing_left(running, children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_demo_can_be_ended_while_it_starts(start_demo: StartDemo, number: int) -> None:
    """Ctrl-C, or the end of its terminal, before everything runs ends it just as well."""
    running = start_demo(free_port(), free_port())
    assert wait_until(lambda: bool(running.children()), 30)
    children = running.children()
    assert running.interrupt(number) == 0
    assert_nothing_left(running, children)


def test_the_demo_ends_when_gunicorn_does(start_demo: StartDemo) -> None:
    """When gunicorn is gone the demo says with what exit code, and ends with status 1."""
    running = start_demo(free_port(), free_port())
    running.wait_for_commands()
    children = running.children()
    (gunicorn,) = [info for info in children if info.parent == running.process.pid]
    os.kill(gunicorn.pid, signal.SIGKILL)
    assert running.process.wait(20) == 1
    assert "gunicorn has ended by itself, with exit code -9\n" in running.errors.read_text()
    assert wait_until(lambda: all(process_info(info.pid) != info for info in children), 10)
    assert_nothing_left(running, children)


def test_an_app_that_does_not_start_ends_the_demo(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where gunicorn can't load the app, the demo says that it has ended, and prints no commands."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(demo, "APP", "ldapauth.nothing:app")
    assert demo.run(free_port(), free_port()) == 1
    printed, errors = capfd.readouterr()
    assert "gunicorn has ended by itself, with exit code 3\n" in errors
    assert "curl" not in printed
    assert signal.getsignal(signal.SIGINT) is before


def test_an_app_that_does_not_answer_ends_the_demo(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The demo waits for the first answer for so long only."""
    monkeypatch.setattr(demo, "_READY_SECONDS", 0.0)
    monkeypatch.setattr(demo, "_answers", lambda _port: False)
    assert demo.run(free_port(), free_port()) == 1
    printed, errors = capfd.readouterr()
    assert (printed, errors) == ("", "the demo gives up: the app has not answered in 0 seconds\n")


def test_gunicorn_is_killed_when_it_does_not_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A gunicorn that takes no notice of SIGTERM is not waited for longer than a moment, and its workers go with it."""
    monkeypatch.setattr(demo, "_STOP_SECONDS", 0.1)
    monkeypatch.setattr(demo, "APP", "wsgiref.simple_server:demo_app")
    with demo._gunicorn(free_port(), tmp_path / "ldapauth.toml") as child:
        assert wait_until(lambda: bool(descendants(child.pid)), 20)
        workers = descendants(child.pid)
        child.send_signal(signal.SIGSTOP)
    assert child.returncode == -signal.SIGKILL
    assert wait_until(lambda: all(process_info(worker.pid) != worker for worker in workers), 10)


def test_the_demo_says_what_it_needs() -> None:
    """Without ldaptor the demo names the command that installs it."""
    script = "import sys; sys.modules['ldaptor'] = None; from ldapauth import demo; sys.exit(demo.run())"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "`make demo`" in result.stderr
