"""Opening connections: TLS in every good and bad form, and servers that are not there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory, User, wire
from ldapauth.errors import DirectoryUnavailable
from ldapauth.verdict import ACCEPTED
from tests import configuration
from tests.servers.certificates import Certificates
from tests.servers.ports import free_port
from tests.servers.slapd import Slapd

JULIET = User("juliet", configuration.DOMAIN)


@pytest.fixture(scope="module")
def secure(certificates: Certificates) -> Iterator[Slapd]:
    """A slapd with a good certificate."""
    with Slapd(certificate=certificates.server) as server:
        yield server


def login(tmp_path: Path, server: Slapd, seconds: float = 10, **changes: Any) -> bool:
    """Whether juliet logs in at the server over a connection of the given settings."""
    file = configuration.write(tmp_path, configuration.domain_table(server, **changes))
    directory = Directory(configuration.DOMAIN, config.load(str(file)).domains[configuration.DOMAIN])
    return directory.check_password(JULIET, "juliet-secret", Deadline.after(seconds)) == ACCEPTED


def ldaps(server: Slapd, host: str = "localhost") -> str:
    """The server's `ldaps` URL by a host name or address."""
    return f"ldaps://{host}:{server.ldaps_port}"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_ldaps_with_the_right_ca(tmp_path: Path, secure: Slapd, certificates: Certificates, host: str) -> None:
    """TLS works by a name and by an address that stand in the certificate."""
    assert login(tmp_path, secure, servers=[ldaps(secure, host)], ca_file=str(certificates.ca))


@pytest.mark.parametrize("host", ["127.0.0.1", None], ids=["ldaps", "ldap"])
def test_usual_answers_are_not_decoded(
    tmp_path: Path, secure: Slapd, certificates: Certificates, host: str | None, mocker: MockerFixture
) -> None:
    """A real server's answers to a login are known by their bytes, with TLS too, where the entry comes on its own."""
    changes: dict[str, Any] = (
        {} if host is None else {"servers": [ldaps(secure, host)], "ca_file": str(certificates.ca)}
    )
    file = configuration.write(tmp_path, configuration.domain_table(secure, **changes))
    directory = Directory(configuration.DOMAIN, config.load(str(file)).domains[configuration.DOMAIN])
    assert directory.check_password(JULIET, "juliet-secret", Deadline.after(10)) == ACCEPTED
    decoded = mocker.spy(wire.Reader, "feed")
    for _ in range(10):
        assert directory.check_password(JULIET, "juliet-secret", Deadline.after(10)) == ACCEPTED
    # A bind's answer is decoded once for each message id.
    assert not [call for call in decoded.call_args_list if b"\x61\x07" not in call.args[1]]


def test_start_tls(tmp_path: Path, secure: Slapd, certificates: Certificates) -> None:
    """StartTLS works on a plain URL."""
    assert login(tmp_path, secure, start_tls=True, ca_file=str(certificates.ca))


def test_ldapi(tmp_path: Path, slapd: Slapd) -> None:
    """A unix socket works."""
    assert login(tmp_path, slapd, servers=[slapd.ldapi_url])


def test_client_certificate_is_shown(tmp_path: Path, certificates: Certificates) -> None:
    """A server that knows its clients' CA is shown the client's certificate."""
    client = certificates.client
    with Slapd(certificate=certificates.server, client_ca=certificates.ca) as server:
        changes: dict[str, Any] = {
            "client_cert": str(client.certificate),
            "client_key": str(client.key),
            "ca_file": str(certificates.ca),
        }
        assert login(tmp_path, server, servers=[ldaps(server)], **changes)


@pytest.mark.parametrize("tls", ["ldaps", "start_tls"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("wrong CA", "self-signed certificate|unable to get local issuer certificate"),
        ("system CAs", "self-signed certificate|unable to get local issuer certificate"),
        ("wrong name", "mismatch"),
        ("expired", "expired"),
    ],
)
def test_certificate_that_is_not_trusted(
    tmp_path: Path, certificates: Certificates, kind: str, message: str, tls: str
) -> None:
    """A certificate by a stranger, for another name or out of date means no connection, and the error says which."""
    pair = {"wrong name": certificates.wrong_name, "expired": certificates.expired}.get(kind, certificates.server)
    ca = {"wrong CA": str(certificates.other_ca), "system CAs": None}.get(kind, str(certificates.ca))
    with Slapd(certificate=pair) as server:
        changes = {"servers": [ldaps(server)]} if tls == "ldaps" else {"servers": [by_name(server)], "start_tls": True}
        with pytest.raises(DirectoryUnavailable, match=f"certificate is not accepted: .*({message})"):
            login(tmp_path, server, ca_file=ca, **changes)
        assert login(tmp_path, server, ca_file=ca, insecure_skip_verify=True, **changes)


def by_name(server: Slapd) -> str:
    """The server's plain URL by its name."""
    return f"ldap://localhost:{server.port}"


def test_start_tls_refused_means_no_connection(tmp_path: Path, slapd: Slapd) -> None:
    """A server that has no TLS is not asked in clear when StartTLS is wanted."""
    with pytest.raises(DirectoryUnavailable, match="StartTLS refused"):
        login(tmp_path, slapd, start_tls=True)


def test_plain_port_spoken_to_with_tls(tmp_path: Path, slapd: Slapd) -> None:
    """TLS to a port that speaks none is an outage, not a bug."""
    with pytest.raises(DirectoryUnavailable):
        login(tmp_path, slapd, servers=[f"ldaps://localhost:{slapd.port}"], connect_timeout=1)


@pytest.mark.parametrize(
    "url", ["ldap://127.0.0.1:{port}", "ldapi://%2Fnonexistent%2Fldapi", "ldaps://nonexistent.invalid"]
)
def test_server_that_is_not_there(tmp_path: Path, slapd: Slapd, url: str) -> None:
    """A refused connection, a missing socket and an unknown name are outages whose text names the server."""
    url = url.format(port=free_port())
    with pytest.raises(DirectoryUnavailable, match=url.split(":")[0]):
        login(tmp_path, slapd, servers=[url])


def test_second_server_answers_when_the_first_is_away(tmp_path: Path, slapd: Slapd) -> None:
    """Servers are asked in order, and one that is not there costs no login."""
    assert login(tmp_path, slapd, servers=[f"ldap://127.0.0.1:{free_port()}", slapd.url])
