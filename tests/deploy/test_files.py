"""The files in `deploy/` that are no part of the app over HTTP: each is used by the program that it is for."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.ejabberd import Ejabberd
from tests.servers.people import person
from tests.servers.process import find_program, wait_until
from tests.servers.unit import DEPLOY, ROOT, directives

JULIET = person("juliet")
DOMAIN = "example.com"
BIN = Path(sys.executable).parent

PATIENCE = 60.0
"""Seconds until a test gives up waiting."""

# Where a document shows one of the snippets.
SHOWN = {
    "prosody.md": ["prosody-http.cfg.lua", "prosody-external.cfg.lua"],
    "ejabberd.md": ["ejabberd.yml"],
    "mongooseim.md": ["mongooseim-http.toml", "mongooseim-external.toml"],
}


def run(command: Sequence[object], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, and returns what came of it; both its outputs are in one."""
    return subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )


def test_every_file_is_used() -> None:
    """There is no file in `deploy/` that no test uses."""
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    names = {path.name for path in DEPLOY.iterdir() if path.is_file()}
    assert {name for name in names if f'"{name}"' not in tests and f"/{name}" not in tests} == set()


@pytest.mark.parametrize(("document", "names"), SHOWN.items(), ids=SHOWN)
def test_snippets_are_in_the_documents(document: str, names: list[str]) -> None:
    """A document shows the snippets of `deploy/` as they are."""
    text = (ROOT / "docs" / document).read_text()
    for name in names:
        assert f"\n{(DEPLOY / name).read_text()}```\n" in text, name
        assert f"(../deploy/{name})" in text, name


# systemd


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, which systemd wants to find with the programs that they name."""
    for name in ("ldapauth.service", "ldapauth.socket"):
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace("/opt/ldapauth/bin", str(BIN)))
    return tmp_path


def analyze() -> str:
    """The path of systemd-analyze."""
    return find_program("systemd-analyze", "apt-get install systemd")


def test_units_are_right(units: Path) -> None:
    """Systemd has nothing to say against the units."""
    done = run([analyze(), "verify", "--man=no", units / "ldapauth.service", units / "ldapauth.socket"])
    assert (done.returncode, done.stdout) == (0, "")


def test_service_may_do_little(units: Path) -> None:
    """What the service could do if it were taken over is rated below 2.0 of 10 by systemd."""
    command = [analyze(), "security", "--offline=true", "--no-pager", "--threshold=20", units / "ldapauth.service"]
    done = run(command)
    rated = re.search(r"Overall exposure level for ldapauth.service: ([\d.]+) ", done.stdout)
    assert rated
    assert float(rated[1]) < 2.0
    assert done.returncode == 0


def test_secrets_are_credentials(units: Path) -> None:
    """The secrets that the service loads are those of the README, in the same places."""
    loaded = directives(units / "ldapauth.service")["LoadCredential"]
    for name, _, source in (one.partition(":") for one in loaded):
        assert f'"{source}"' in (ROOT / "README.md").read_text()
        assert f'"$CREDENTIALS_DIRECTORY/{name}"' in (ROOT / "docs" / "quick-start.md").read_text()


# logrotate


def test_logrotate(config_file: Path, tmp_path: Path) -> None:
    """A helper's log is moved away under it, and soon its lines are in a new one, and no line is lost."""
    logs = tmp_path / "log"
    logs.mkdir()
    target = logs / "ejabberd.log"
    config_file.write_text(f'{config_file.read_text()}\n[log]\ntarget = "{target}"\n')
    settings = tmp_path / "logrotate"
    settings.write_text((DEPLOY / "logrotate").read_text().replace("/var/log/ldapauth", str(logs)))
    settings.chmod(0o644)
    rotate = [
        find_program("logrotate", "apt-get install logrotate"),
        "--force",
        "--state",
        tmp_path / "state",
        settings,
    ]

    with subprocess.Popen(
        [BIN / "ldapauth-ejabberd", "--config", config_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as helper:
        assert helper.stdin
        assert helper.stdout
        to, back, questions = helper.stdin, helper.stdout, itertools.count()

        def logged() -> bool:
            question = f"auth:{JULIET.uid}:{DOMAIN}:{JULIET.password}".encode()
            to.write(len(question).to_bytes(2, "big") + question)
            to.flush()
            next(questions)
            return back.read(4) == b"\0\2\0\1" and "event=check_password" in text(target)

        assert wait_until(logged, PATIENCE)
        assert run(rotate).returncode == 0
        assert wait_until(logged, PATIENCE)
        to.close()
    moved = text(logs / "ejabberd.log.1").count("event=check_password")
    assert moved + text(target).count("event=check_password") == next(questions)


def text(file: Path) -> str:
    """What is in a file, if it is there."""
    return file.read_text() if file.exists() else ""


# Prosody


@pytest.fixture
def prosody(tmp_path: Path) -> Path:
    """The beginning of a configuration of Prosody, private to the test."""
    for name in ("data", "certs"):
        (tmp_path / name).mkdir()
    settings = tmp_path / "prosody.cfg.lua"
    settings.write_text(
        f"""\
        modules_enabled = {{ "roster", "saslauth", "tls" }}
        data_path = "{tmp_path}/data"
        certificates = "{tmp_path}/certs"
        pidfile = "{tmp_path}/prosody.pid"
        log = {{ info = "{tmp_path}/prosody.log" }}
        """
    )
    return settings


def check_prosody(settings: Path) -> subprocess.CompletedProcess[str]:
    """Has Prosody check a configuration."""
    prosodyctl = find_program("prosodyctl", "apt-get install prosody")
    return run([prosodyctl, "--root", "--config", settings, "check", "config"])


@pytest.mark.parametrize("name", ["prosody-http.cfg.lua", "prosody-external.cfg.lua"])
def test_prosody_snippets(prosody: Path, name: str) -> None:
    """Prosody's own check has nothing to say against the snippets."""
    prosody.write_text(prosody.read_text() + (DEPLOY / name).read_text())
    done = check_prosody(prosody)
    assert done.returncode == 0, done.stdout
    assert "All checks passed" in done.stdout


def test_prosody_checks(prosody: Path) -> None:
    """Prosody's check is one: it finds a snippet that is cut short."""
    prosody.write_text(prosody.read_text() + (DEPLOY / "prosody-http.cfg.lua").read_text().rstrip().removesuffix('"'))
    assert check_prosody(prosody).returncode != 0


# ejabberd and MongooseIM


class ConfiguredEjabberd(Ejabberd):
    """An ejabberd whose configuration ends with the snippet; before it nobody can log in."""

    def __init__(self, config_file: Path) -> None:
        """Prepares a node; nothing runs yet."""
        super().__init__(
            "/bin/false", hosts=[DOMAIN], use_cache=True, environment={"LDAPAUTH_CONFIG": str(config_file)}
        )
        self._options |= {"auth_method": ["internal"]}

    def _prepare(self) -> None:
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in self._options.items()]
        snippet = (DEPLOY / "ejabberd.yml").read_text().replace("/opt/ldapauth/bin", str(BIN))
        self._configuration_file.write_text("".join([*lines, snippet]))


def test_ejabberd_snippet(config_file: Path) -> None:
    """With the snippet at its end, ejabberd lets a user in with the right password and no other, in two helpers."""
    with ConfiguredEjabberd(config_file) as ejabberd:
        assert ejabberd.check_password(JULIET.uid, DOMAIN, str(JULIET.password))
        assert not ejabberd.check_password(JULIET.uid, DOMAIN, "wrong")
        assert len({helper.pid for helper in ejabberd.helpers()}) >= 2


def test_mongooseim_snippets() -> None:
    """Both snippets have MongooseIM send passwords, to nginx over verified TLS or to the helper."""
    over_http, external = (
        tomllib.loads((DEPLOY / f"mongooseim-{way}.toml").read_text()) for way in ("http", "external")
    )
    assert over_http["auth"]["password"] == external["auth"]["password"] == {"format": "plain"}
    connection = over_http["outgoing_pools"]["http"]["auth"]["connection"]
    assert connection["host"].endswith(":8443")
    assert connection["tls"]["verify_mode"] == "peer"
    assert external["auth"]["external"]["program"] == "/opt/ldapauth/bin/ldapauth-ejabberd"


# Docker


def test_dockerfile() -> None:
    """What the Dockerfile copies is there, and what it starts is what the unit starts."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _ = line.split()[1:]
            assert all((ROOT / source).exists() for source in sources)
    (entry,) = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("ENTRYPOINT")]
    (app,) = [json.loads(line.partition(" ")[2]) for line in lines if line.startswith("CMD")]
    (start,) = directives(DEPLOY / "ldapauth.service")["ExecStart"]
    assert (entry[0], app) == (shlex.split(start)[0], [shlex.split(start)[-1]])
