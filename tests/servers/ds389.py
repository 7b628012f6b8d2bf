"""A private 389 Directory Server, with the people of `tests.servers.people` in it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from tests.servers import ds389_config, ldif
from tests.servers.certificates import CLIENT_NAME, CertificateAuthority
from tests.servers.people import PEOPLE_DN, SUFFIX, Person
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import Daemon, accepts, checked, failure, find_program

__all__ = ["INSTALL_COMMAND", "Ds389"]

INSTALL_COMMAND = "apt-get install 389-ds-base libnss3-tools ldap-utils"

_DEFAULTS = Path("/etc/dirsrv")
_NO_SUCH_OBJECT = 32


class Ds389(Daemon):
    """A 389 Directory Server of its own on loopback: `with Ds389(authority) as server: ...`.

    It has an administrator (`admin_dn`), a service account that reads people, sets passwords and adds and deletes
    entries below `people_dn`, one that only reads, the people, who may read their own entries, and each `State` but
    those that only Active Directory knows and `TOO_YOUNG`.

    Attributes:
        port: The port of `url`.
        ldaps_port: The port of `ldaps_url`.
        ca: Who signed its certificate.
        client: The certificate and key of the service account.
        stranger: Those of nobody who has an entry.
    """

    suffix = SUFFIX
    people_dn = PEOPLE_DN
    service_dn = ds389_config.SERVICE_DN
    service_password = ds389_config.SERVICE_PASSWORD
    reader_dn = ds389_config.READER_DN
    reader_password = ds389_config.READER_PASSWORD
    admin_dn = ds389_config.ADMIN_DN
    admin_password = ds389_config.ADMIN_PASSWORD

    def __init__(self, authority: CertificateAuthority) -> None:
        """Prepares a server; nothing runs yet.

        Args:
            authority: Who issues its certificate.

        Raises:
            ServerError: 389 Directory Server or its tools are not installed.
        """
        super().__init__("ns-slapd")
        self._program = find_program("ns-slapd", INSTALL_COMMAND)
        for tool in ("certutil", "pk12util", "pwdhash", "ldapmodify"):
            find_program(tool, INSTALL_COMMAND)
        self.port = free_port()
        self.ldaps_port = free_port()
        self.ca = authority.ca
        self._certificate = authority.issue("ds389", "localhost", LOOPBACK)
        self.client = authority.issue("ds389-client", common_name=CLIENT_NAME)
        self.stranger = authority.issue("ds389-stranger", common_name="stranger")

    @property
    def url(self) -> str:
        """Where it serves LDAP, with StartTLS."""
        return f"ldap://{LOOPBACK}:{self.port}"

    @property
    def ldaps_url(self) -> str:
        """Where it serves LDAPS."""
        return f"ldaps://localhost:{self.ldaps_port}"

    @property
    def ldapi_url(self) -> str:
        """Where it serves LDAP on a Unix socket."""
        return f"ldapi://{quote(str(self._socket), safe='')}"

    def dn(self, who: Person) -> str:
        """The distinguished name of a person's entry."""
        return who.dn

    def entry(self, dn: str, *attributes: str) -> dict[str, list[bytes]]:
        """Returns an entry as the administrator sees it, or an empty dict when there is none."""
        options = ("-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn)
        command = [*self._tool("ldapsearch"), *options, "(objectClass=*)", *attributes]
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
        if done.returncode not in (0, _NO_SUCH_OBJECT):
            raise failure(done)
        return ldif.parse_entry(done.stdout)

    def modify_ldif(self, text: str) -> None:
        """Does the changes of an LDIF text as the administrator; a record without changetype is a modification."""
        checked(self._tool("ldapmodify"), text)

    def bad_passwords(self, dn: str) -> int:
        """Returns how many wrong passwords in a row are counted against an account."""
        return int(self.entry(dn, "passwordRetryCount").get("passwordRetryCount", [b"0"])[0])

    def unlock(self, dn: str) -> None:
        """Lets an account that wrong passwords have locked start anew, as the administrator does."""
        for name in self.entry(dn, "passwordRetryCount", "accountUnlockTime"):
            self.modify_ldif(f"dn: {dn}\nchangetype: modify\ndelete: {name}\n")

    def start(self) -> None:
        """Starts the server and returns when it is ready, the first time with its policies."""
        fresh = self._temporary is None
        super().start()
        if fresh:
            self.modify_ldif(ds389_config.policies())

    def close(self) -> None:
        """Stops the server and removes all of it, a semaphore that it leaves included."""
        semaphore = f"sem.{self._instance.name}.stats" if self._temporary is not None else None
        super().close()
        if semaphore is not None:
            Path("/dev/shm", semaphore).unlink(missing_ok=True)

    @property
    def _instance(self) -> Path:
        """The directory of the configuration; its name is the instance's, of which a machine may have several."""
        return self.directory / self.directory.name

    @property
    def _socket(self) -> Path:
        return self.directory / "ldapi"

    def _prepare(self) -> None:
        for name in ds389_config.DIRECTORIES:
            (self.directory / name).mkdir()
        self._instance.mkdir()
        shutil.copytree(_DEFAULTS / "schema", self._instance / "schema")
        shutil.copy(_DEFAULTS / "config" / "slapd-collations.conf", self._instance)
        (self._instance / "certmap.conf").write_text(ds389_config.CERTIFICATE_MAP)
        hashed = self._run("pwdhash", "-s", "PBKDF2-SHA512", self.admin_password).decode().strip()
        (self._instance / "dse.ldif").write_text(
            ds389_config.configuration(self.directory, self._instance, (self.port, self.ldaps_port), hashed)
        )
        self._import_certificate()
        entries = self.directory / "data.ldif"
        entries.write_text(ds389_config.entries())
        self._run("ns-slapd", "ldif2db", "-D", str(self._instance), "-n", ds389_config.BACKEND, "-i", str(entries))

    def _import_certificate(self) -> None:
        """Makes the database in which the server looks for its certificate."""
        database = ["-d", str(self.directory / "cert")]
        certificate = x509.load_pem_x509_certificate(self._certificate.certificate.read_bytes())
        key = load_pem_private_key(self._certificate.key.read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        bundle = self.directory / "server.p12"
        locked = BestAvailableEncryption(b"p12-secret")
        bundle.write_bytes(pkcs12.serialize_key_and_certificates(b"Server-Cert", key, certificate, None, locked))
        self._run("certutil", "-N", *database, "--empty-password")
        self._run("certutil", "-A", *database, "-n", "CA", "-t", "CT,,", "-a", "-i", str(self.ca))
        self._run("pk12util", "-i", str(bundle), *database, "-W", "p12-secret")

    def _command(self) -> Sequence[str]:
        # A level, even 0, makes it stay in the foreground.
        return [self._program, "-D", str(self._instance), "-i", str(self.directory / "pid"), "-d", "0"]

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _is_ready(self) -> bool:
        if not accepts(self._socket):
            return False
        with suppress(OSError), socket.create_connection((LOOPBACK, self.ldaps_port), timeout=1):
            return True
        return False

    def _run(self, program: str, *arguments: str) -> bytes:
        return checked([find_program(program, INSTALL_COMMAND), *arguments]).stdout

    def _tool(self, program: str) -> list[str]:
        """The beginning of the command of an LDAP tool that is the administrator."""
        credentials = ["-D", self.admin_dn, "-w", self.admin_password]
        return [find_program(program, INSTALL_COMMAND), "-x", "-H", self.ldapi_url, *credentials]
