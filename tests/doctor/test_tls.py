"""Certificates that are not accepted, and StartTLS that is refused: what failed, what is there, what to do about it."""

import datetime as dt
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ldapauth.config import Domain, Server
from ldapauth.doctor.finding import Finding, Line, Mark
from ldapauth.doctor.patient import Case, Patient
from ldapauth.doctor.tls import openssl
from tests import configuration
from tests.doctor import examined, findings, only, problems, skipped
from tests.servers.certificates import WRONG_NAME, CertificateAuthority, Certificates, KeyPair
from tests.servers.process import find_program
from tests.servers.slapd import Slapd

NO_ISSUER, EXPIRED, NO_NAME = 20, 10, 62
"""What OpenSSL calls what is wrong. Source: x509_vfy.h."""

Ask = Callable[..., list[Line]]


@pytest.fixture(scope="module")
def slapd(certificates: Certificates) -> Iterator[Slapd]:
    """A slapd with a good certificate."""
    with Slapd(certificate=certificates.server) as server:
        yield server


@pytest.fixture
def ask(tmp_path: Path, certificates: Certificates) -> Ask:
    """Examines a slapd over LDAPS, from a table with the given changes."""

    def one(server: Slapd, **changes: Any) -> list[Line]:
        table = {"servers": [server.ldaps_url], "ca_file": str(certificates.ca), **changes}
        return examined(tmp_path, configuration.domain_table(server, **table))

    return one


def shown_by_openssl(found: Finding) -> str:
    """What the command in a remedy prints."""
    find_program("openssl", "apt-get install openssl")
    command = found.remedy.partition("to see it: ")[2].removesuffix(" </dev/null")
    done = subprocess.run(shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_a_good_certificate(slapd: Slapd, ask: Ask) -> None:
    """Of a certificate that is accepted the names, the issuer and the days left are said, and the version of TLS."""
    version, certificate = findings(ask(slapd), "TLS")
    assert version.text.startswith("TLSv1.3 with TLS_")
    assert certificate.text.startswith("the certificate is for localhost, 127.0.0.1, by O=trustme")
    assert certificate.text.endswith("until 3000-01-01")
    assert {version.mark, certificate.mark} == {Mark.OK}


def test_start_tls(slapd: Slapd, ask: Ask) -> None:
    """StartTLS is said to be it, and the certificate is looked at too."""
    version, certificate = findings(ask(slapd, servers=[slapd.url], start_tls=True), "TLS")
    assert version.text.startswith("StartTLS, TLSv1.3 with ")
    assert certificate.mark is Mark.OK


@pytest.mark.parametrize("start_tls", [False, True], ids=["ldaps", "StartTLS"])
def test_an_authority_that_is_not_trusted(
    slapd: Slapd,
    ask: Ask,
    certificates: Certificates,
    start_tls: bool,  # noqa: FBT001 - a case
) -> None:
    """A certificate of an authority that ca_file does not have is a problem that says who signed it."""
    url = f"ldap://localhost:{slapd.port}" if start_tls else slapd.ldaps_url
    lines = ask(slapd, servers=[url], start_tls=start_tls, ca_file=str(certificates.other_ca))
    found = only(lines, "TLS")
    assert found.mark is Mark.PROBLEM
    assert found.text.startswith("the certificate is not accepted: unable to get local issuer certificate; it is for ")
    assert "by O=trustme" in found.text
    assert "ca_file" in found.remedy
    assert f"num={NO_ISSUER}:" in shown_by_openssl(found)
    assert {"bind", "search"} <= set(skipped(lines))


def test_a_certificate_that_has_expired(ask: Ask, certificates: Certificates) -> None:
    """A certificate whose time is over is a problem that says since when."""
    with Slapd(certificate=certificates.expired) as slapd:
        found = only(ask(slapd), "TLS")
        shown = shown_by_openssl(found)
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert found.mark is Mark.PROBLEM
    assert "certificate has expired" in found.text
    assert f"until {yesterday:%Y-%m-}" in found.text
    assert "renew" in found.remedy
    assert f"num={EXPIRED}:" in shown


def test_a_certificate_for_another_name(ask: Ask, certificates: Certificates) -> None:
    """A certificate without the name in the URL is a problem, whose remedy has the names that it is for."""
    with Slapd(certificate=certificates.wrong_name) as slapd:
        found = only(ask(slapd), "TLS")
        shown = shown_by_openssl(found)
    assert found.mark is Mark.PROBLEM
    assert "mismatch" in found.text
    assert WRONG_NAME in found.remedy
    assert f"num={NO_NAME}:" in shown


def self_signed(directory: Path, *, names: bool) -> KeyPair:
    """A certificate that nobody else has signed, with control characters in its subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local\x1b[2Jhost\n")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=400))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pair = KeyPair(directory / "self.pem", directory / "self.key")
    pem = serialization.Encoding.PEM
    pair.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    pair.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return pair


def test_a_certificate_that_signed_itself(ask: Ask, tmp_path: Path) -> None:
    """A self-signed certificate is a problem, and in ca_file good; what it says of itself can't command a terminal."""
    pair = self_signed(tmp_path, names=True)
    with Slapd(certificate=pair) as slapd:
        found = only(ask(slapd), "TLS")
        trusted = ask(slapd, ca_file=str(pair.certificate))
    assert "self-signed" in found.text
    assert r"by CN=local\x1b[2Jhost\n" in found.text
    assert found.text.isprintable()
    assert {finding.mark for finding in findings(trusted, "TLS")} == {Mark.OK}


def test_a_certificate_without_a_name(ask: Ask, tmp_path: Path) -> None:
    """A certificate that has only a common name is for no server, which is said."""
    pair = self_signed(tmp_path, names=False)
    with Slapd(certificate=pair) as slapd:
        found = only(ask(slapd, ca_file=str(pair.certificate)), "TLS")
    assert found.mark is Mark.PROBLEM
    assert "it is for no server (it has no subjectAltName; CN=" in found.text


def test_a_certificate_that_expires_soon(ask: Ask, tmp_path: Path) -> None:
    """A certificate with few days left is accepted, with a warning."""
    authority = CertificateAuthority(tmp_path)
    pair = authority.issue("soon", "localhost", not_after=dt.datetime.now(dt.UTC) + dt.timedelta(days=5, hours=1))
    with Slapd(certificate=pair) as slapd:
        lines = ask(slapd, ca_file=str(authority.ca))
    assert "valid for 5 more days only" in problems(lines)["TLS"]
    assert only(lines, "bind").mark is Mark.OK


def test_start_tls_that_is_refused(ask: Ask) -> None:
    """A server without StartTLS is a problem, and nothing is sent to it in clear."""
    with Slapd(loglevel="stats") as slapd:
        lines = ask(slapd, servers=[slapd.url], start_tls=True)
        asked = slapd.operations()
    assert problems(lines) == {"TLS": "StartTLS refused (result 2)"}
    assert "certificate" in only(lines, "TLS").remedy
    assert asked["BIND"] == asked["SRCH"] == 0


def test_the_wrong_port_for_tls(slapd: Slapd, ask: Ask) -> None:
    """A port that does not speak TLS, or that speaks nothing else, is a problem that says so."""
    in_clear = only(ask(slapd, servers=[f"ldaps://localhost:{slapd.port}"]), "TLS")
    assert "does this port speak TLS?" in in_clear.remedy
    over_tls = ask(slapd, servers=[f"ldap://localhost:{slapd.ldaps_port}"])
    assert "does the port speak what the URL says" in only(over_tls, "bind").remedy


def test_a_verification_that_is_off(slapd: Slapd, ask: Ask, certificates: Certificates) -> None:
    """Where certificates are not verified, it is said whether they would be accepted."""
    needless = ask(slapd, insecure_skip_verify=True)
    assert problems(needless)["TLS"] == "insecure_skip_verify is of no use: the certificate is good"
    needed = ask(slapd, insecure_skip_verify=True, ca_file=str(certificates.other_ca))
    assert "unable to get local issuer certificate" in problems(needed)["TLS"]
    assert only(needed, "bind").mark is Mark.OK


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ldaps://ldap.example.com", ["-connect", "ldap.example.com:636", "-servername", "ldap.example.com"]),
        ("ldap://192.0.2.1", ["-connect", "192.0.2.1:389", "-verify_ip", "192.0.2.1", "-starttls", "ldap"]),
        ("ldaps://[2001:db8::1]", ["-connect", "[2001:db8::1]:636", "-verify_ip", "2001:db8::1"]),
    ],
)
def test_the_command_has_what_the_connection_has(url: str, words: list[str]) -> None:
    """The command that shows a certificate asks the same server in the same way, with every file as one word."""
    settings = Domain(servers=(url,), ca_file="/etc/my ca.pem", client_cert="/x;y.pem", client_key="/z")
    patient = Patient(Case("x", "x", settings, []), Server.parse(url), None)  # type: ignore[arg-type] # it opens nothing
    parts = shlex.split(openssl(patient))
    assert [word for word in words if word not in parts] == []
    assert parts[parts.index("-CAfile") + 1] == "/etc/my ca.pem"
    assert parts[parts.index("-cert") + 1 : parts.index("-cert") + 4] == ["/x;y.pem", "-key", "/z"]
