"""The quick start, walked: its commands run as they stand there, on a machine that is a directory.

What a package manager and systemd would do is done by the tests: the packages are there, and the units are started as
they say. Places are others, as in tests.test_readme, and so is the company's directory.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ldapauth import log
from ldapauth.config import Log, Secret
from tests.servers.certificates import Certificates, KeyPair
from tests.servers.nginx import Nginx
from tests.servers.people import person
from tests.servers.ports import free_port
from tests.servers.process import checked
from tests.servers.slapd import Slapd
from tests.servers.unit import DEPLOY, Unit
from tests.test_readme import INSTALL_SECONDS, PATIENCE, ROOT, Machine, PastedEjabberd, copy_checkout

DOCUMENT = (ROOT / "docs" / "quick-start.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
PROGRAM, CONFIGURATION, CHECK, EJABBERD, SERVICE, NGINX, CURL = BLOCKS

JULIET = person("juliet")
DOMAIN = "example.com"

# Debian's own, of which these lines count.
EJABBERD_YML = Path("/etc/ejabberd/ejabberd.yml")

pytestmark = pytest.mark.timeout(PATIENCE + INSTALL_SECONDS)


@dataclass
class Walk(Machine):
    """A machine on which the quick start is followed.

    Attributes:
        directory_url: What is used in place of `ldaps://ldap1.example.com`.
        https_port: What is used in place of 8443.
    """

    directory_url: str = ""
    https_port: int = field(default_factory=free_port)

    def here(self, text: str) -> str:
        """A text with the places of this machine."""
        text = super().here(text).replace("ldaps://ldap1.example.com", self.directory_url)
        for place in ("/etc/ejabberd", "/etc/nginx", "/etc/systemd"):
            text = text.replace(place, f"{self.directory}{place}")
        return text.replace("8443", str(self.https_port))

    def elsewhere(self, path: str) -> str:
        """The content of a file of this machine as it would be on one of its own."""
        return Path(self.here(path)).read_text().replace(str(self.directory), "")

    def stand_in(self, program: str, script: str) -> None:
        """Puts a program before those of the system."""
        file = self.directory / "bin" / program
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)


@pytest.fixture(scope="module")
def directory(certificates: Certificates) -> Iterator[Slapd]:
    """The company's directory."""
    with Slapd(certificate=certificates.server) as server:
        yield server


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, directory: Slapd, certificates: Certificates) -> Walk:
    """A machine on which the quick start was followed up to its configuration."""
    walk = Walk(tmp_path_factory.mktemp("walk"), directory_url=str(directory.ldaps_url))
    copy_checkout(walk.checkout)
    shutil.copy(certificates.ca, walk.checkout / "ca.pem")
    for place in ("/etc/ejabberd", "/etc/nginx/conf.d", "/etc/systemd/system"):
        (walk.directory / place[1:]).mkdir(parents=True)
    (walk.directory / "etc" / "ejabberd" / "ejabberd.yml").write_text(debian_ejabberd())
    (walk.directory / "opt").mkdir()
    for program in ("apt-get", "systemctl", *([] if os.geteuid() == 0 else ["chgrp"])):
        walk.stand_in(program, f'echo "{program} $*" >> "{walk.directory}/asked"')
    walk.stand_in("python3", f'exec "{shutil.which("python3.11") or shutil.which("python3")}" "$@"')
    walk.run(PROGRAM, INSTALL_SECONDS)
    walk.run(CONFIGURATION)
    # The commands for the app change it; ejabberd is started before them.
    shutil.copy(walk.here("/etc/ldapauth.toml"), walk.here("/etc/ldapauth/first.toml"))
    return walk


def debian_ejabberd() -> str:
    """What Debian's ejabberd.yml says before the quick start, where this user may read it."""
    if os.access(EJABBERD_YML, os.R_OK):
        return EJABBERD_YML.read_text()
    return "hosts:\n  - localhost\n"


def commands(block: str) -> list[str]:
    """The commands of a block; what a command is given to read is no command."""
    return re.sub(r"<<'END'\n.*?^END$", "", block, flags=re.MULTILINE | re.DOTALL).strip().splitlines()


def test_number_of_commands() -> None:
    """The document says how many commands it takes to log in either way."""
    numbers = [len([line for block in part for line in commands(block) if line]) for part in (BLOCKS[:4], BLOCKS[4:])]
    said = re.search(r"logging people in \((\d+) commands\).*?\((\d+) more\)", DOCUMENT, re.DOTALL)
    assert said
    assert [int(number) for number in said.groups()] == numbers


def test_packages(machine: Walk) -> None:
    """It asks for no package that the tests don't have, but for that of Python's own."""
    asked = (machine.directory / "asked").read_text().splitlines()
    (installed,) = [line.split()[2:] for line in asked if line.startswith("apt-get install")]
    packages = {name for name in installed if not name.startswith("-")}
    (line,) = re.findall(r"^servers:\n\t(.*\\\n.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert packages - set(line.split()) == {"python3-venv"}


def test_manual_is_installed(machine: Walk) -> None:
    """The installation brings a manual page for each program and for the configuration, which `man` finds."""
    pages = {path.name for path in (machine.directory / "opt/ldapauth/share/man").rglob("*.?")}
    assert pages == {"ldapauth.1", "ldapauth-generic.1", "ldapauth-ejabberd.1", "ldapauth.toml.5"}
    for page in pages:
        name, _, _ = page.rpartition(".")
        found = checked(["man", "-M", machine.here("/opt/ldapauth/share/man"), "-w", name])
        assert found.stdout.decode().strip().endswith(page)


def test_check(machine: Walk) -> None:
    """One of the company's people is accepted."""
    status, shown = machine.run_on_terminal(CHECK, str(JULIET.password))
    assert (status, shown.splitlines()[-1]) == (0, "accepted")


def test_doctor(machine: Walk) -> None:
    """The commands in the page about the doctor find no problem on this machine."""
    page = (ROOT / "docs" / "doctor.md").read_text()
    for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        status, shown = machine.run_on_terminal(f"export LDAPAUTH_CONFIG=/etc/ldapauth/first.toml\n{block}", "")
        assert status in {0, 1}, shown
        assert DOMAIN in shown


def test_hash_of_a_name(machine: Walk, tmp_path: Path) -> None:
    """The command of the reference finds a user's name in the log of that day, where names are hashed with a key."""
    key, file = "a-key-for-names", tmp_path / "log"
    machine.write("/etc/ldapauth/users-key", key)
    page = (ROOT / "docs" / "configuration.md").read_text()
    (command,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    log.configure(Log(target=str(file), users="hash", users_key=Secret(key)))
    log.event(logging.getLogger(log.ROOT), logging.INFO, "check_password", domain=DOMAIN, user=JULIET.uid)
    day = file.read_text().partition(" ")[0]
    assert f" user={machine.run(command.replace('2026-11-22', day)).strip()}" in file.read_text()


def section(text: str, name: str) -> str:
    """The one top-level section of that name in a file in YAML."""
    (found,) = [part for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE) if part.startswith(f"{name}:")]
    return found


@pytest.fixture(scope="module")
def ejabberd_yml(machine: Walk) -> str:
    """The configuration of ejabberd as the quick start has changed it."""
    machine.run(EJABBERD)
    return machine.here(Path(machine.here("/etc/ejabberd/ejabberd.yml")).read_text())


def logs_in(text: str, environment: dict[str, str]) -> bool:
    """Whether an ejabberd with that part of a configuration lets Juliet in with her password, and with no other.

    The rest of Debian's is left out, for it opens ports to the network.
    """
    with PastedEjabberd(section(text, "host_config"), environment) as ejabberd:
        assert not ejabberd.check_password(JULIET.uid, DOMAIN, "wrong")
        return ejabberd.check_password(JULIET.uid, DOMAIN, str(JULIET.password))


def test_ejabberd(machine: Walk, ejabberd_yml: str) -> None:
    """With Debian's configuration as the quick start changes it, ejabberd logs people in."""
    assert section(ejabberd_yml, "hosts").split() == ["hosts:", "-", DOMAIN]
    assert logs_in(ejabberd_yml, {"LDAPAUTH_CONFIG": machine.here("/etc/ldapauth/first.toml")})


@pytest.fixture(scope="module")
def nginx(machine: Walk, ejabberd_yml: str) -> Iterator[Nginx]:  # noqa: ARG001 - the document's order
    """The app behind nginx, as systemd and nginx would run them after the commands."""
    machine.run(SERVICE)
    machine.run(NGINX)
    etc = Path(machine.here("/etc/ldapauth"))
    secrets = {name: (etc / name).read_text() for name in ("ca.pem", "bind-password", "http-credentials")}
    programs = Path(machine.here("/opt/ldapauth/bin"))
    certificate = KeyPair(etc / "tls" / "certificate.pem", etc / "tls" / "key.pem")
    site = Path(machine.here("/etc/nginx/conf.d/ldapauth.conf")).read_text()
    with Unit(machine.elsewhere("/etc/ldapauth.toml"), secrets, programs=programs) as unit:
        server = Nginx(unit.address, certificate, certificate.certificate, site)
        server.port = machine.https_port
        with server:
            yield server


@pytest.mark.usefixtures("nginx")
@pytest.mark.parametrize(("password", "answer"), [(str(JULIET.password), "true"), ("wrong", "false")])
def test_curl(machine: Walk, password: str, answer: str) -> None:
    """Over nginx with TLS, curl logs in with the right password and no other."""
    assert machine.run(CURL.replace("juliet-secret", password)) == answer


@pytest.mark.usefixtures("nginx")
def test_files_are_where_they_belong(machine: Walk) -> None:
    """The units and gunicorn's settings are in the places that they name, as they are in `deploy/`."""
    for name, place in {
        "gunicorn.conf.py": "/etc/ldapauth",
        "ldapauth.service": "/etc/systemd/system",
        "ldapauth.socket": "/etc/systemd/system",
    }.items():
        assert Path(machine.here(f"{place}/{name}")).read_text() == (DEPLOY / name).read_text()
    asked = (machine.directory / "asked").read_text()
    assert "systemctl enable --now ldapauth.socket ldapauth.service\n" in asked
    assert "systemctl reload nginx\n" in asked


@pytest.mark.usefixtures("nginx")
def test_programs_that_systemd_does_not_start(machine: Walk, ejabberd_yml: str) -> None:
    """With the directory of the secrets given, as the document says, ejabberd and `check` work with the same file."""
    (command,) = re.findall(r'extauth_program: "(/usr/bin/env .*?)"', DOCUMENT)
    text = re.sub(r'extauth_program: ".*"', f'extauth_program: "{machine.here(command)}"', ejabberd_yml)
    assert logs_in(text, {"LDAPAUTH_CONFIG": machine.environment["LDAPAUTH_CONFIG"]})
    (prefix,) = re.findall(r"`(CREDENTIALS_DIRECTORY=\S+) ldapauth check …`", DOCUMENT)
    status, _ = machine.run_on_terminal(f"export {prefix}\n{CHECK}", str(JULIET.password))
    assert status == 0
