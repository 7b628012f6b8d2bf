"""The README's commands and examples: whoever pastes them gets what it says.

The commands run as they stand there, and the examples are used by the programs they are for. Only places are others:
what is in /opt/ldapauth, in /etc/ldapauth and at port 8389 is in a temporary directory and at a free port.
"""

import base64
import http.client
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers.certificates import Certificates
from tests.servers.ejabberd import Ejabberd
from tests.servers.people import person
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import find_program, wait_until
from tests.servers.slapd import Slapd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CLIENTS = (ROOT / "docs" / "clients.md").read_text()

JULIET = person("juliet")
DOMAIN = "example.com"
JID = f"{JULIET.uid}@{DOMAIN}"

PATIENCE = 60.0
"""Seconds until a test gives up waiting; what it waits for takes a small part of them."""

INSTALL_SECONDS = 200.0
"""The same for an installation, which fetches packages."""

pytestmark = pytest.mark.timeout(PATIENCE + INSTALL_SECONDS)


def blocks(language: str) -> list[str]:
    """The README's blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block(language: str, mark: str) -> str:
    """The README's one block of a language with a certain text in it."""
    (found,) = [text for text in blocks(language) if mark in text]
    return found


@dataclass
class Machine:
    """An administrator's machine: a directory with what the README puts into /opt and /etc, and a checkout.

    Attributes:
        directory: Where all of it is.
        port: What is used in place of 8389.
    """

    directory: Path
    port: int = field(default_factory=free_port)

    @property
    def checkout(self) -> Path:
        """A copy of this project as git would hand it out, with what is not committed yet."""
        return self.directory / "checkout"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a shell on it. It has a `python3.11`, which is the Python that runs the tests."""
        settings = ("PYTHON", "VIRTUAL_ENV", "GUNICORN", "LDAPAUTH")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        return {
            **inherited,
            "HOME": str(self.directory),
            "PATH": f"{self.directory / 'bin'}:{inherited['PATH']}",
            # The README has the file where it is looked for by default, and that can't be changed.
            "LDAPAUTH_CONFIG": self.here("/etc/ldapauth.toml"),
        }

    def here(self, text: str) -> str:
        """A text of the README with the places of this machine."""
        text = text.replace("8389", str(self.port))
        for place in ("/opt/ldapauth", "/etc/ldapauth"):
            text = text.replace(place, f"{self.directory}{place}")
        return text

    def write(self, path: str, text: str) -> None:
        """Writes a file that nobody else may read, at the place of this machine for the path."""
        file = Path(self.here(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text)

    def start(self, script: str, *, output: Path, errors: Path) -> "subprocess.Popen[bytes]":
        """Runs commands of the README in a shell, in the checkout; to be ended with `end`.

        Args:
            script: The commands.
            output: The file for what they print.
            errors: The file for what they write on standard error.
        """
        with output.open("wb") as stdout, errors.open("wb") as stderr:
            return subprocess.Popen(
                ["sh", "-e", "-c", self.here(script)],
                cwd=self.checkout,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def run(self, script: str, seconds: float = PATIENCE) -> str:
        """Runs commands of the README to their end, which must be a good one, and returns what they print."""
        output, errors = self.directory / "output.log", self.directory / "errors.log"
        shell = self.start(script, output=output, errors=errors)
        try:
            assert shell.wait(seconds) == 0, output.read_text() + errors.read_text()
        finally:
            end(shell)
        return output.read_text()

    def run_on_terminal(self, script: str, password: str) -> tuple[int, str]:
        """Runs commands on a terminal and types a password when asked; returns the exit status and what is shown."""
        master, slave = pty.openpty()
        command = ["setsid", "--ctty", "sh", "-e", "-c", self.here(script)]
        shell = subprocess.Popen(
            command, cwd=self.checkout, env=self.environment, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        shown = b""
        try:
            with suppress(OSError):  # EIO: nobody has the terminal open any more
                while piece := os.read(master, 4096):
                    # The question is there once echo is off; what is typed before would be thrown away.
                    if b"Password" not in shown and b"Password" in shown + piece:
                        os.write(master, f"{password}\n".encode())
                    shown += piece
            return shell.wait(PATIENCE), shown.decode().replace("\r\n", "\n")
        finally:
            os.close(master)
            end(shell)


def end(shell: "subprocess.Popen[bytes]") -> None:
    """Ends a shell that leads a session, and what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, number)
        with suppress(subprocess.TimeoutExpired):
            shell.wait(10)
            wait_until(lambda: not _group_exists(shell.pid), 10)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def copy_checkout(target: Path) -> None:
    """Copies what git would hand out, changes and new files included."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@pytest.fixture(scope="module")
def directory(certificates: Certificates) -> Iterator[Slapd]:
    """The company's directory, which is reached by TLS."""
    with Slapd(certificate=certificates.server) as server:
        yield server


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, directory: Slapd, certificates: Certificates) -> Machine:
    """A machine on which the README was followed up to its configuration, the first of its examples."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    copy_checkout(machine.checkout)
    machine.run(block("sh", "umask"))  # the README's passwords are those of the tests' directory
    machine.write("/etc/ldapauth/ca.pem", certificates.ca.read_text())
    example = re.sub(r"ldaps://ldap\d\.example\.com", str(directory.ldaps_url), block("toml", "ldap1.example.com"))
    machine.write("/etc/ldapauth.toml", machine.here(example))

    python = machine.directory / "bin" / "python3.11"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    machine.run(block("sh", "pip install"), INSTALL_SECONDS)
    return machine


@pytest.fixture(scope="module")
def app(machine: Machine) -> Iterator[None]:
    """The app, started as the README says."""
    (command,) = [line for line in block("sh", "gunicorn").splitlines() if line.endswith("&")]
    output, errors = machine.directory / "app.log", machine.directory / "app-errors.log"
    shell = machine.start(f"{command}\nwait", output=output, errors=errors)
    try:
        wait_until(lambda: shell.poll() is not None or _listens(machine.port), PATIENCE)
        assert _listens(machine.port), output.read_text() + errors.read_text()
        yield
    finally:
        end(shell)


def _listens(port: int) -> bool:
    with suppress(OSError), closing(http.client.HTTPConnection(LOOPBACK, port)) as connection:
        connection.connect()
        return True
    return False


def test_no_command_is_left_out() -> None:
    """Each block of commands in the README is tried by these tests, or is one of the first two, which others try."""
    marks = ("make demo", "make test", "pip install", "umask", "ldapauth config", "gunicorn")
    assert [mark for text in blocks("sh") for mark in marks if mark in text] == list(marks)


def test_check(machine: Machine) -> None:
    """The configuration is shown without its secrets, and a user with the right password is accepted."""
    status, shown = machine.run_on_terminal(block("sh", "ldapauth config"), str(JULIET.password))
    assert status == 0
    configuration, _, answer = shown.partition("Password")
    in_effect = tomllib.loads(configuration)
    assert in_effect["http"]["credentials"] == ["***"]
    assert in_effect["domains"][DOMAIN]["bind_password"] == "***"
    assert answer.splitlines()[-1] == "accepted"
    assert str(JULIET.password) not in shown


@pytest.mark.parametrize(
    ("jid", "shown_last"),
    [(JID, "refused: the directory says that the password is wrong"), (f"nobody@{DOMAIN}", "refused: no entry")],
)
def test_check_says_why_not(machine: Machine, jid: str, shown_last: str) -> None:
    """A refusal is given its reason in words, and the exit status 1."""
    command = block("sh", "ldapauth config").replace(JID, jid)
    status, shown = machine.run_on_terminal(command, "wrong")
    assert status == 1
    assert shown.splitlines()[-1].startswith(shown_last)


def test_check_without_an_answer(machine: Machine, directory: Slapd) -> None:
    """The exit status is 2 when the directory can't be asked."""
    directory.stop()
    try:
        status, shown = machine.run_on_terminal(block("sh", "ldapauth config"), str(JULIET.password))
    finally:
        directory.start()
    assert status == 2
    assert shown.splitlines()[-1].startswith("no answer: ")


def test_mistakes_are_lines_that_name_the_setting(machine: Machine) -> None:
    """A mistake in the configuration is one line, with the setting's path at its beginning."""
    wrong = machine.directory / "wrong.toml"
    wrong.write_text(block("toml", "ldap1.example.com").replace("base_dn", "base").replace("/etc/", "/nowhere/"))
    command = block("sh", "ldapauth config").splitlines()[0]
    status, shown = machine.run_on_terminal(f"LDAPAUTH_CONFIG='{wrong}' {command}", "")
    assert status == 2
    settings = sorted(line.partition(": ")[0] for line in shown.splitlines())
    assert settings == [f'domains."{DOMAIN}".base', "http.credentials_file"]


@pytest.mark.usefixtures("app")
def test_curl(machine: Machine) -> None:
    """The app answers the README's question with true."""
    (command,) = [line for line in block("sh", "gunicorn").splitlines() if line.startswith("curl ")]
    assert machine.run(command) == "true"


def prosody_settings(text: str) -> dict[str, str]:
    """The settings that a block sets in Prosody's configuration, which is a program in Lua."""
    program = """
        local environment = setmetatable({ VirtualHost = function (host) print("VirtualHost=" .. host) end },
            { __newindex = function (_, name, value) print(name .. "=" .. tostring(value)) end })
        assert(load(io.read("*a"), "README", "t", environment))()
    """
    lua = find_program("lua5.2", "apt-get install lua5.2")
    done = subprocess.run(
        [lua, "-e", program], input=text, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("number", range(len(blocks("lua"))))
def test_prosody_settings_are_known(number: int) -> None:
    """What the README sets in Prosody for a virtual host is what the modules read."""
    settings = prosody_settings(blocks("lua")[number])
    assert settings.pop("VirtualHost") == DOMAIN
    module = settings.pop("authentication")
    assert module in {"http", "external"}
    for name in settings:
        assert name.startswith(f"{module}_auth_")
        assert f"`{name}`" in CLIENTS, f"{name} is not described in docs/clients.md"


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(("password", "answer"), [(str(JULIET.password), "true"), ("wrong", "false")])
def test_prosody_over_http(machine: Machine, password: str, answer: str) -> None:
    """With the README's settings for mod_auth_http a user logs in by the right password and no other."""
    settings = prosody_settings(machine.here(block("lua", "http_auth_url")))
    query = urllib.parse.urlencode({"user": JULIET.uid, "server": DOMAIN, "pass": password})
    url = urllib.parse.urlsplit(f"{settings['http_auth_url']}/check_password?{query}")
    token = base64.b64encode(settings["http_auth_credentials"].encode()).decode()
    with closing(http.client.HTTPConnection(str(url.hostname), url.port, timeout=PATIENCE)) as connection:
        connection.request("GET", f"{url.path}?{url.query}", headers={"Authorization": f"Basic {token}"})
        response = connection.getresponse()
        assert (response.status, response.read().decode()) == (200, answer)


def test_prosody_with_a_helper(machine: Machine) -> None:
    """The command that the README gives mod_auth_external is there, needs no arguments, and speaks that protocol."""
    settings = prosody_settings(machine.here(block("lua", "external_auth_command")))
    assert settings["external_auth_protocol"] == "generic"
    questions = f"auth:{JULIET.uid}:{DOMAIN}:{JULIET.password}\nauth:{JULIET.uid}:{DOMAIN}:wrong\n"
    assert ask_helper([settings["external_auth_command"]], machine.environment, questions.encode()) == b"1\n0\n"


class PastedEjabberd(Ejabberd):
    """An ejabberd whose configuration ends with a text as somebody pasted it.

    Without that text nobody can log in: the options before it have neither a helper nor users.
    """

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        """Prepares a node; nothing runs yet.

        Args:
            text: Options in YAML.
            environment: More environment variables for the helper.
        """
        super().__init__("/bin/false", hosts=[DOMAIN], use_cache=True, environment=environment)
        self._options |= {"auth_method": ["internal"]}
        self._text = text

    def _prepare(self) -> None:
        # Between the braces of JSON nothing could be pasted; but its values are YAML's too.
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in self._options.items()]
        self._configuration_file.write_text("".join([*lines, self._text]))


def test_ejabberd(machine: Machine) -> None:
    """With the README's options a user logs in by the right password and no other, a refused new one included."""
    environment = {"LDAPAUTH_CONFIG": machine.environment["LDAPAUTH_CONFIG"]}
    with PastedEjabberd(machine.here(block("yaml", "extauth_program")), environment) as ejabberd:
        assert ejabberd.check_password(JULIET.uid, DOMAIN, str(JULIET.password))
        assert not ejabberd.check_password(JULIET.uid, DOMAIN, "wrong")
        ejabberd.set_password(JULIET.uid, DOMAIN, "new-secret")
        assert not ejabberd.check_password(JULIET.uid, DOMAIN, "new-secret")
        assert ejabberd.check_password(JULIET.uid, DOMAIN, str(JULIET.password))


def test_mongooseim(machine: Machine) -> None:
    """Both examples for MongooseIM have it send passwords, to the app or the helper that the README installs."""
    over_http, external = (tomllib.loads(machine.here(text)) for text in blocks("toml") if "password.format" in text)
    assert over_http["auth"]["password"] == external["auth"]["password"] == {"format": "plain"}
    (pool,) = over_http["outgoing_pools"]["http"].values()
    assert pool["connection"]["host"] == prosody_settings(machine.here(block("lua", "http_auth_url")))["http_auth_url"]
    assert re.fullmatch("[^:]+:.+", over_http["auth"]["http"]["basic_auth"])
    question = f"auth:{JULIET.uid}:{DOMAIN}:{JULIET.password}".encode()
    frame = len(question).to_bytes(2, "big") + question
    assert ask_helper([external["auth"]["external"]["program"]], machine.environment, frame) == b"\0\2\0\1"


def ask_helper(command: Sequence[str], environment: Mapping[str, str], questions: bytes) -> bytes:
    """Runs a helper with questions on its standard input, and returns what it answers until it ends."""
    done = subprocess.run(
        command,
        input=questions,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout
