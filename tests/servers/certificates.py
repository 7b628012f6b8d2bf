"""Certificates for tests: good ones, and each kind that must be refused."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

SERVER_NAMES = ("localhost", "127.0.0.1")
WRONG_NAME = "wrong.example.net"
CLIENT_NAME = "xmpp service"


@dataclass(frozen=True)
class KeyPair:
    """The files, in PEM, of a certificate and of its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """The files of everything a TLS test needs.

    Attributes:
        ca: The certificate authority that has signed the others.
        other_ca: One that has signed nothing.
        server: For a server on localhost and 127.0.0.1.
        wrong_name: For a server with another name.
        expired: For a server on localhost and 127.0.0.1, until yesterday.
        client: For the XMPP service as a client, with the common name `CLIENT_NAME`.
    """

    ca: Path
    other_ca: Path
    server: KeyPair
    wrong_name: KeyPair
    expired: KeyPair
    client: KeyPair


@dataclass(frozen=True)
class UserCertificate:
    """A user's certificate, as a directory stores it in `userCertificate;binary` (DER) and as PEM, and its key."""

    der: bytes
    pem: bytes
    key_pem: bytes


class CertificateAuthority:
    """A made-up certificate authority that writes what it issues into a directory.

    Attributes:
        directory: Where the files are.
        ca: The authority's own certificate, `ca.pem`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._authority = trustme.CA()
        self.ca = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue_all(self) -> Certificates:
        """Issues everything a TLS test needs."""
        return Certificates(
            ca=self.ca,
            other_ca=self.other_ca(),
            server=self.issue("server", *SERVER_NAMES),
            wrong_name=self.issue("wrong-name", WRONG_NAME),
            expired=self.issue("expired", *SERVER_NAMES, not_after=yesterday()),
            client=self.issue("client", common_name=CLIENT_NAME),
        )

    def issue(
        self,
        file_name: str,
        *names: str,
        common_name: str | None = None,
        not_after: datetime | None = None,
    ) -> KeyPair:
        """Issues a certificate.

        Args:
            file_name: What the two files' names begin with.
            *names: The host names, IP addresses or mail addresses it is for.
            common_name: The CN of its subject.
            not_after: When it expires; not soon, if not given.
        """
        issued = self._authority.issue_cert(*names, common_name=common_name, not_after=not_after)
        pair = KeyPair(self.directory / f"{file_name}.pem", self.directory / f"{file_name}.key")
        issued.cert_chain_pems[0].write_to_path(pair.certificate)
        issued.private_key_pem.write_to_path(pair.key)
        return pair

    def other_ca(self) -> Path:
        """Writes the certificate of an authority that has signed nothing."""
        path = self.directory / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(path)
        return path

    def user_certificate(self, uid: str, mail: str, *, expired: bool = False) -> UserCertificate:
        """Issues a user's certificate: the CN is the login name, and the subject's alternative name the address."""
        issued = self._authority.issue_cert(mail, common_name=uid, not_after=yesterday() if expired else None)
        pem = issued.cert_chain_pems[0].bytes()
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        return UserCertificate(der=der, pem=pem, key_pem=issued.private_key_pem.bytes())


def yesterday() -> datetime:
    """Returns the time of a day ago."""
    return datetime.now(UTC) - timedelta(days=1)
