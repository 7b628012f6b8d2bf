"""Servers whose name does not resolve, that refuse, that hang, and that DNS lists."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth import doctor
from ldapauth.directory import connection
from ldapauth.doctor.finding import Mark
from ldapauth.doctor.patient import Patient
from tests import configuration
from tests.directory.test_srv import DnsServer, resolve_with
from tests.doctor import examined, findings, only, problems, skipped
from tests.integration import silent_directory
from tests.servers.certificates import Certificates
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.proxy import Fault, Proxy
from tests.servers.slapd import Slapd

NEEDS_CONNECTION = {"bind", "root DSE", "clock", "base DN", "search", "read rights"}


def table(server: str, **changes: Any) -> dict[str, Any]:
    """A domain with this server, short of patience."""
    return {
        "servers": [server],
        "bind_dn": "cn=x",
        "bind_password": "x",
        "base_dn": "dc=example,dc=com",
        "connect_timeout": 0.3,
        "deadline": 0.3,
        **changes,
    }


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    """A name without an address is a problem, which stops what needs a connection and nothing else."""
    lines = examined(tmp_path, table("ldaps://no-such-host.invalid"))
    found = only(lines, "addresses")
    assert found.mark is Mark.PROBLEM
    assert found.text.startswith("no-such-host.invalid does not resolve: ")
    assert "getent ahosts no-such-host.invalid" in found.remedy
    assert list(problems(lines)) == ["addresses"]
    assert set(skipped(lines)) >= {"reach", "TLS", *NEEDS_CONNECTION}
    assert only(lines, "deadlines").mark is Mark.OK


def test_a_server_that_refuses(tmp_path: Path) -> None:
    """A port on which nothing listens is a problem that names the address."""
    port = free_port()
    lines = examined(tmp_path, table(f"ldap://{LOOPBACK}:{port}"))
    assert problems(lines) == {"reach": f"{LOOPBACK} port {port}: Connection refused"}
    assert f"listen on port {port}" in only(lines, "reach").remedy
    assert set(skipped(lines)) >= NEEDS_CONNECTION


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """A Unix socket that is not there is a problem that names its path."""
    assert problems(examined(tmp_path, table("ldapi://%2Fnonexistent"))) == {
        "reach": "/nonexistent: No such file or directory"
    }


def test_a_server_that_drops_what_is_sent(slapd: Slapd, tmp_path: Path) -> None:
    """A server behind a firewall that drops connection attempts is a problem, after the time that is allowed."""
    with Proxy(slapd.port) as proxy:
        proxy.fault = Fault.BLACKHOLE
        lines = examined(tmp_path, table(proxy.url))
    assert problems(lines) == {"reach": f"{LOOPBACK} port {proxy.port}: no answer in time"}


def test_a_server_that_hangs(tmp_path: Path) -> None:
    """A server that accepts and says nothing is found out by each question, and none waits for ever."""
    with silent_directory() as url:
        lines = examined(tmp_path, table(url))
    assert {check: text.partition(" (")[0] for check, text in problems(lines).items()} == {
        "bind": "no answer in time",
        "root DSE": "no answer in time",
    }
    assert only(lines, "TLS").mark is Mark.OK
    assert {"base DN", "search", "read rights"} <= set(skipped(lines))


def test_a_server_that_hangs_in_the_handshake(tmp_path: Path, certificates: Certificates) -> None:
    """A server that does not finish the TLS handshake is a problem, after the time that is allowed."""
    with Slapd(certificate=certificates.server) as slapd:
        assert slapd.ldaps_port is not None
        with Proxy(slapd.ldaps_port) as proxy:
            proxy.fault = Fault.HANDSHAKE
            lines = examined(tmp_path, table(proxy.ldaps_url, ca_file=str(certificates.ca)))
    assert problems(lines) == {"TLS": "no answer in time"}


def test_no_address_gets_more_than_its_share(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """Where every address drops what is sent, each is a problem, and all together wait no longer than one may."""
    with Proxy(slapd.port) as proxy:
        proxy.fault = Fault.BLACKHOLE
        addresses = [(int(socket.AF_INET), (LOOPBACK, proxy.port))] * 3
        mocker.patch.object(connection, "_addresses", return_value=addresses)
        lines = examined(tmp_path, table(proxy.url))
    assert [finding.text for finding in findings(lines, "reach")] == [
        f"{LOOPBACK} port {proxy.port}: no answer in time"
    ] * 3
    assert set(skipped(lines)) >= NEEDS_CONNECTION


def test_one_dead_address_of_two(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """Where one address of a name answers and another does not, that is a warning, and the rest is examined."""
    dead = free_port()
    addresses = [(int(socket.AF_INET), (LOOPBACK, dead)), (int(socket.AF_INET), (LOOPBACK, slapd.port))]
    mocker.patch.object(connection, "_addresses", return_value=addresses)
    lines = examined(tmp_path, configuration.domain_table(slapd))
    assert [finding.mark for finding in findings(lines, "reach")] == [Mark.OK, Mark.WARNING]
    assert only(lines, "bind").mark is Mark.OK


def test_addresses_are_shown(slapd: Slapd, tmp_path: Path) -> None:
    """A name's addresses are shown with their kind; of an address there is nothing to say."""
    by_name = examined(tmp_path, configuration.domain_table(slapd, servers=[f"ldap://localhost:{slapd.port}"]))
    assert f"A {LOOPBACK}" in only(by_name, "addresses").text
    assert findings(examined(tmp_path, configuration.domain_table(slapd)), "addresses") == []


def test_one_failing_check_does_not_stop_the_others(slapd: Slapd, tmp_path: Path) -> None:
    """A connection that is lost under one check is replaced for the next one."""
    with Proxy(slapd.port) as proxy:
        file = configuration.write(tmp_path, configuration.domain_table(slapd, servers=[proxy.url]))
        lines = []
        for line in doctor.examine(str(file)):
            lines.append(line)
            if line.check == "bind":
                proxy.reset()
    assert list(problems(lines)) == ["root DSE"]
    assert only(lines, "base DN").mark is Mark.OK


def test_a_bug_in_a_check_stops_no_other(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """A check that fails in a way that nobody thought of is a finding, without the text of the exception."""
    mocker.patch.object(Patient, "root_dse", side_effect=KeyError("secret"))
    lines = examined(tmp_path, configuration.domain_table(slapd))
    assert problems(lines)["root DSE"] == "the doctor has a bug: KeyError"
    assert {finding.mark for finding in findings(lines, "read rights")} == {Mark.OK}


@pytest.fixture
def dns_server(mocker: MockerFixture) -> Iterator[DnsServer]:
    """A DNS server that everybody asks."""
    with DnsServer() as server:
        resolve_with(mocker, server.nameserver)
        yield server


def test_servers_from_dns(dns_server: DnsServer, slapd: Slapd, tmp_path: Path) -> None:
    """The servers that DNS lists are shown, and each is examined."""
    dns_server.records = [f"10 0 {slapd.port} localhost.", f"20 0 {free_port()} localhost."]
    changes = {"servers": "srv:directory.example", "insecure_plaintext": True}
    lines = examined(tmp_path, configuration.domain_table(slapd, **changes))
    assert only(lines, "servers").text.startswith("SRV _ldap._tcp.directory.example: localhost:")
    assert [finding.mark for finding in findings(lines, "reach")] == [Mark.OK, Mark.PROBLEM]


def test_no_servers_in_dns(dns_server: DnsServer, slapd: Slapd, tmp_path: Path) -> None:
    """SRV records that are not there are a problem, with the command that shows them."""
    dns_server.records = []
    changes = {"servers": "srv:directory.example", "start_tls": True}
    found = only(examined(tmp_path, configuration.domain_table(slapd, **changes)), "servers")
    assert (found.mark, found.text) == (Mark.PROBLEM, "no SRV records at _ldap._tcp.directory.example")
    assert "dig +short SRV _ldap._tcp.directory.example" in found.remedy
