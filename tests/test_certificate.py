"""Certificates: PEM in and out, and who is valid today."""

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldapauth import certificate
from tests.servers.certificates import CertificateAuthority, UserCertificate

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For whatever runs on a busy machine: that it takes long is no failure."""

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
JULIET = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "juliet")])
NOBODY = x509.Name([])
# RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on
LATE = dt.datetime(2060, 1, 1, tzinfo=dt.UTC)
NEVER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


def certificate_for(begin: dt.datetime, end: dt.datetime, subject: x509.Name = JULIET) -> bytes:
    """A certificate that is valid between two moments, in DER."""
    builder = x509.CertificateBuilder(JULIET, subject, KEY.public_key(), 1, begin, end)
    names = x509.SubjectAlternativeName([x509.RFC822Name("juliet@example.com")])
    return (
        builder.add_extension(names, critical=subject is NOBODY).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Who issues certificates to users."""
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def juliet(authority: CertificateAuthority) -> UserCertificate:
    """A user's certificate, valid."""
    return authority.user_certificate("juliet", "juliet@example.com")


@pytest.fixture(scope="module")
def romeo(authority: CertificateAuthority) -> UserCertificate:
    """Another user's."""
    return authority.user_certificate("romeo", "romeo@example.com")


def test_an_issued_certificate_is_valid(juliet: UserCertificate) -> None:
    """A certificate that an authority has issued is valid today."""
    assert certificate.is_valid_now(juliet.der)


def test_an_expired_certificate_is_not(authority: CertificateAuthority) -> None:
    """A certificate that was valid until yesterday is not valid today."""
    assert not certificate.is_valid_now(authority.user_certificate("juliet", "juliet@example.com", expired=True).der)


VALIDITIES = {
    "since yesterday until tomorrow": (NOW - DAY, NOW + DAY, True),
    "until a year with a generalized time": (NOW - DAY, LATE, True),
    "without a well-defined end": (NOW - DAY, NEVER, True),
    "until yesterday": (NOW - 2 * DAY, NOW - DAY, False),
    "from tomorrow": (NOW + DAY, NOW + 2 * DAY, False),
    "from tomorrow until a generalized time": (NOW + DAY, LATE, False),
    "only in generalized times": (LATE, NEVER, False),
}


@pytest.mark.parametrize(("begin", "end", "valid"), VALIDITIES.values(), ids=VALIDITIES)
def test_validity(begin: dt.datetime, end: dt.datetime, *, valid: bool) -> None:
    """A certificate is valid from its first to its last moment, however the times are written."""
    assert certificate.is_valid_now(certificate_for(begin, end)) is valid


def test_a_certificate_without_a_subject_can_be_valid() -> None:
    """A certificate that names its owner in the alternative name alone (RFC 5280 4.1.2.6) is valid in its time."""
    assert certificate.is_valid_now(certificate_for(NOW - DAY, NOW + DAY, NOBODY))


ODD_TIMES = {
    "no time zone": b"\x17\x0c260101000000" + b"\x18\x0e20600101000000",
    "an offset of more than a day": b"\x17\x0d26112104-9999" + b"\x17\x0d49112104-9999",
    "no such day": b"\x17\x0d260230000000Z" + b"\x17\x0d490230000000Z",
    "letters": b"\x17\x0dabcdefghijklZ" + b"\x17\x0dabcdefghijklZ",
}


@pytest.mark.parametrize("times", ODD_TIMES.values(), ids=ODD_TIMES)
def test_times_that_are_not_as_they_must_be(times: bytes) -> None:
    """A certificate whose times are not written as RFC 5280 4.1.2.5 demands is not valid, and raises nothing."""
    der = certificate_for(NOW - DAY, NOW + DAY)
    start = der.index(b"\x17\x0d")
    assert not certificate.is_valid_now(der[:start] + times + der[start + len(times) :])


@pytest.mark.parametrize(
    "der",
    [b"", b"\0", b"garbage", b"\x30\x00", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80" * 5000, b"\x04\x01x"],
    ids=["nothing", "NUL", "text", "empty sequence", "indefinite", "4 GB", "deep", "another type"],
)
def test_garbage_is_not_valid(der: bytes) -> None:
    """What is no certificate is not valid, and raises nothing."""
    assert not certificate.is_valid_now(der)


@UNTIMED
@given(st.binary())
def test_any_bytes_are_not_valid(der: bytes) -> None:
    """Any bytes that are no certificate are not valid."""
    assert certificate.is_valid_now(der) is False


@UNTIMED
@given(data=st.data())
def test_a_damaged_certificate_raises_nothing(juliet: UserCertificate, data: st.DataObject) -> None:
    """A certificate with some bytes changed is valid or not, and never an exception."""
    der = bytearray(juliet.der)
    for index in data.draw(st.lists(st.integers(0, len(der) - 1), min_size=1, max_size=4)):
        der[index] = data.draw(st.integers(0, 255))
    assert certificate.is_valid_now(bytes(der)) in (True, False)


def test_a_certificate_that_is_cut_off_is_not_valid(juliet: UserCertificate) -> None:
    """No beginning of a certificate is valid."""
    assert not any(certificate.is_valid_now(juliet.der[:end]) for end in range(len(juliet.der)))


def test_pem_is_what_openssl_writes(juliet: UserCertificate) -> None:
    """A certificate's PEM form is as OpenSSL writes it, ended by a line break."""
    assert certificate.pem(juliet.der) == juliet.pem.decode()


def test_the_first_of_a_chain_is_the_user_s(juliet: UserCertificate, romeo: UserCertificate) -> None:
    """Of several certificates the first counts, which is the client's own in a chain."""
    assert certificate.first((juliet.pem + romeo.pem).decode()) == juliet.der
    assert certificate.first((romeo.pem + juliet.pem).decode()) == romeo.der


WRAPPINGS = {
    "text in front": "subject=CN = juliet\n{pem}",
    "text behind": "{pem}\nthe end",
    "the private key in front": "{key}{pem}",
    "no last line break": "{stripped}",
    "carriage returns": "{crlf}",
    "an end in front": "-----END CERTIFICATE-----\n{pem}",
}


@pytest.mark.parametrize("text", WRAPPINGS.values(), ids=WRAPPINGS)
def test_what_stands_around_a_certificate_is_passed_over(juliet: UserCertificate, text: str) -> None:
    """A certificate is found in whatever text stands around it."""
    pem = juliet.pem.decode()
    forms = {"pem": pem, "key": juliet.key_pem.decode(), "stripped": pem.strip(), "crlf": pem.replace("\n", "\r\n")}
    assert certificate.first(text.format(**forms)) == juliet.der


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----",
        "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nюлия\n-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
    ids=ascii,
)
def test_there_may_be_no_certificate(text: str) -> None:
    """A text without a whole certificate has none."""
    assert certificate.first(text) is None


@UNTIMED
@given(st.text())
def test_any_text_between_the_markers_raises_nothing(text: str) -> None:
    """Whatever stands between the lines that begin and end a certificate gives bytes, or none."""
    found = certificate.first(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    assert found is None or isinstance(found, bytes)


@UNTIMED
@given(st.binary(min_size=1))
def test_pem_is_read_back(der: bytes) -> None:
    """What was written in PEM form is read back byte for byte."""
    assert certificate.first(certificate.pem(der)) == der


def test_a_file_of_an_authority_is_read(authority: CertificateAuthority) -> None:
    """A certificate is read from a PEM file as other programs read it."""
    text = Path(authority.ca).read_text()
    assert certificate.first(text) == ssl.PEM_cert_to_DER_cert(text)


SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "IT"),
        x509.NameAttribute(NameOID.EMAIL_ADDRESS, "j@example.com"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Giulia d'\u00c9"),
    ]
)


def test_a_certificate_is_described(authority: CertificateAuthority) -> None:
    """A description has the names that the certificate is for, whose it is, who signed it, and when it is valid."""
    pair = authority.issue("described", "ldap.example.com", "*.example.org", "192.0.2.1", "2001:db8::1", not_after=LATE)
    der = certificate.first(pair.certificate.read_text())
    ours = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    assert der is not None
    description = certificate.describe(der)
    assert description is not None
    assert description.names == ("ldap.example.com", "*.example.org", "192.0.2.1", "2001:db8::1")
    assert description.issuer == ", ".join(
        f"{attribute.rfc4514_attribute_name}={attribute.value!s}" for attribute in ours.issuer
    )
    assert (description.begin, description.end) == (ours.not_valid_before_utc, LATE)


def test_a_description_has_any_subject() -> None:
    """A subject is shown with the usual short names, others by their number, in any script."""
    description = certificate.describe(certificate_for(NOW - DAY, NOW + DAY, SUBJECT))
    assert description is not None
    assert description.subject == "C=IT, 1.2.840.113549.1.9.1=j@example.com, CN=Giulia d'\u00c9"
    assert description.names == ()  # a mail address is no server's name


@UNTIMED
@given(data=st.data())
def test_a_damaged_certificate_is_described_or_not(juliet: UserCertificate, data: st.DataObject) -> None:
    """A certificate with some bytes changed has a description or none, and never an exception."""
    der = bytearray(juliet.der)
    for index in data.draw(st.lists(st.integers(0, len(der) - 1), min_size=1, max_size=4)):
        der[index] = data.draw(st.integers(0, 255))
    description = certificate.describe(bytes(der))
    assert description is None or isinstance(description.subject, str)


def test_garbage_has_no_description() -> None:
    """What is no certificate has no description."""
    assert [certificate.describe(der) for der in (b"", b"garbage", b"\x30\x80" * 5000)] == [None] * 3
