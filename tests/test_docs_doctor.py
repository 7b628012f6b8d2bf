"""The page about `ldapauth doctor` shows what it prints: each example is a real run, names and times apart."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ldapauth import doctor
from ldapauth.cli import main
from ldapauth.doctor.finding import Mark
from tests import configuration
from tests.doctor import listen_on_ipv4
from tests.doctor.test_people import MANY
from tests.servers.certificates import Certificates
from tests.servers.slapd import Slapd
from tests.servers.slapd_config import SERVICE_DN

PAGE = (Path(__file__).parents[1] / "docs" / "doctor.md").read_text()


@dataclass(frozen=True)
class SetUp:
    """A server and a configuration.

    Attributes:
        server: What makes the slapd.
        table: What is different in the domain's table.
        sections: What else is in the configuration.
        whole: Whether the page shows all that is printed, or only what is wrong.
    """

    server: Callable[[Certificates], Slapd] = lambda files: Slapd(certificate=files.server)
    table: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)
    whole: bool = False


SET_UPS = {
    "healthy": SetUp(whole=True),
    "authority": SetUp(table={"ca_file": "other-ca.pem"}),
    "expired": SetUp(lambda files: Slapd(certificate=files.expired)),
    "start-tls": SetUp(lambda _: Slapd(), table={"servers": None, "start_tls": True}),
    "password": SetUp(table={"bind_password_file": None, "bind_password": "wrong"}),
    "base": SetUp(table={"base_dn": "ou=staff,dc=example,dc=com"}),
    "index": SetUp(lambda files: Slapd(certificate=files.server, extra_ldif=MANY, indexes="objectClass")),
    "read": SetUp(
        lambda files: Slapd(
            certificate=files.server, rules=f'access to attrs=uid by dn.exact="{SERVICE_DN}" search by * none'
        )
    ),
    "deadline": SetUp(sections={"generic": {"deadline": 6}}),
}


def examples() -> dict[str, str]:
    """The examples of the page by their names."""
    return dict(re.findall(r"^```text (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def output(directory: Path, files: Certificates, set_up: SetUp) -> str:
    """What is printed about a set-up, under the names that the page has for everything."""
    for name, content in (("ca.pem", files.ca.read_text()), ("other-ca.pem", files.other_ca.read_text())):
        (directory / name).write_text(content)
    (directory / "bind-password").touch(mode=0o600)
    with set_up.server(files) as slapd:
        (directory / "bind-password").write_text(slapd.service_password)
        table = {
            "bind_password": None,
            "bind_password_file": "bind-password",
            "servers": [slapd.ldaps_url],
            "operations": ["check_password", "user_exists", "set_password"],
            "ca_file": "ca.pem",
            **set_up.table,
        }
        table["servers"] = table["servers"] or [f"ldap://localhost:{slapd.port}"]
        file = configuration.write(directory, configuration.domain_table(slapd, **table), **set_up.sections)
        printed = CliRunner().invoke(main, ["--config", str(file), "doctor"]).output
        ports = {str(slapd.port): "389", str(slapd.ldaps_port): "636"}
    for ours, theirs in {
        **ports,
        f"{directory}/ldapauth.toml": "/etc/ldapauth.toml",
        str(directory): "/etc/ldapauth",
        "localhost": "ldap.example.com",
        "127.0.0.1": "192.0.2.1",
    }.items():
        printed = printed.replace(ours, theirs)
    return re.sub(r"O=trustme[^,]*, OU=Testing CA #[\w-]+", "O=Example, CN=Example CA", printed)


def wrong(text: str) -> str:
    """The findings that are wrong, with their remedies."""
    lines = text.splitlines(keepends=True)
    marked = [line for line in lines if re.match(r"  (problem|warning)  ", line)]
    return "".join(line + lines[lines.index(line) + 1] for line in marked)


def plain(text: str) -> str:
    """The text without what differs from run to run."""
    text = re.sub(r"\d+\.\d+ ms", "N ms", text)
    return re.sub(r"\d+ more days|\d{4}-\d\d-\d\d", "N", text)


@pytest.mark.parametrize("name", SET_UPS)
def test_the_examples_are_real(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What the page shows for a set-up is what is printed for it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    listen_on_ipv4(monkeypatch)
    set_up = SET_UPS[name]
    printed = output(tmp_path, certificates, set_up)
    assert plain(examples()[name]) == plain(printed if set_up.whole else wrong(printed))


def test_every_example_is_tried() -> None:
    """The page has no example that is not tried."""
    assert list(examples()) == list(SET_UPS)


def test_every_check_is_explained() -> None:
    """The page has a row for each check, in the order in which they are made, and no other."""
    rows = re.findall(r"^\| `([\w /-]+)` \|", PAGE, re.MULTILINE)
    assert rows == doctor.CHECKS


def test_every_mark_is_explained() -> None:
    """The page says what each mark means."""
    assert sorted(re.findall(r"^- `([\w ]+)`: ", PAGE, re.MULTILINE)) == sorted(Mark)
