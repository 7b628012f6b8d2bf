"""A private OpenLDAP server, with the people of `tests.servers.people` in it."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tests.servers import ldif, slapd_config
from tests.servers.certificates import KeyPair
from tests.servers.people import PEOPLE, PEOPLE_DN, SUFFIX, Person, person
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import Daemon, ServerError, accepts, failure, find_program

__all__ = ["INSTALL_COMMAND", "PEOPLE", "PEOPLE_DN", "SUFFIX", "Person", "Slapd", "person"]

INSTALL_COMMAND = "apt-get install slapd ldap-utils"

_SUCCESS = 0
_NO_SUCH_OBJECT = 32
_INVALID_CREDENTIALS = 49
_UNWILLING_TO_PERFORM = 53

# What slapd logs once for each connection, and once for each request (a bind that succeeds has two more lines).
_ACCEPT = re.compile(r" conn=(\d+) fd=\d+ (ACCEPT) from .*\((.*)\)$")
_REQUEST = re.compile(
    r" conn=(\d+) op=\d+ (?:(BIND) dn=.* method=|(SRCH) base=|(ADD|MOD|MODRDN|DEL|CMP) dn=|(EXT) oid=|(UNBIND))"
)


class Slapd(Daemon):
    """A slapd of its own on loopback: `with Slapd() as slapd: ...`.

    Its directory has an administrator, a service account that reads people, sets passwords and adds and deletes
    entries below `people_dn`, one that only reads, and the people, who may bind and read their own entry.

    Attributes:
        port: The port of `url`, kept through restarts.
        ldaps_port: The port of `ldaps_url`; None without a certificate.
    """

    suffix = SUFFIX
    people_dn = PEOPLE_DN
    service_dn = slapd_config.SERVICE_DN
    service_password = slapd_config.SERVICE_PASSWORD
    reader_dn = slapd_config.READER_DN
    reader_password = slapd_config.READER_PASSWORD
    admin_dn = slapd_config.ADMIN_DN
    admin_password = slapd_config.ADMIN_PASSWORD

    def __init__(
        self,
        *,
        certificate: KeyPair | None = None,
        client_ca: Path | None = None,
        ppolicy: bool = False,
        anonymous_read: bool = False,
        hidden: bool = False,
        extra_ldif: str = "",
        indexes: str = "objectClass,uid,mail",
        rules: str = "",
        memberof: bool = False,
        loglevel: str = "none",
    ) -> None:
        """Prepares a server; nothing runs yet.

        Args:
            certificate: The server's certificate and key; without it there is neither LDAPS nor StartTLS.
            client_ca: Who signs certificates of clients, for SASL EXTERNAL; a client need not have one.
            ppolicy: Whether there is a password policy: 8 bytes at least, none of the last three passwords. With it
                there is each `State` but those that only Active Directory knows.
            anonymous_read: Whether everybody may read entries, though not passwords.
            hidden: Whether people may not even read their own entries.
            extra_ldif: More entries to begin with.
            indexes: The attributes that are indexed for equality.
            rules: Lines of slapd.conf that come before the usual access rules: `access` or `limits`.
            memberof: Whether entries say which groups they are in; of groups in groups it says nothing.
            loglevel: What `log` has: `none` for urgent messages only, `stats` for each operation.

        Raises:
            ServerError: slapd or the command line tools are not installed.
        """
        super().__init__("slapd")
        self._program = find_program("slapd", INSTALL_COMMAND)
        find_program("ldapwhoami", INSTALL_COMMAND)
        self._settings = slapd_config.Settings(
            certificate, client_ca, ppolicy, anonymous_read, hidden, extra_ldif, indexes, rules, memberof
        )
        self._loglevel = loglevel
        self.port = free_port()
        self.ldaps_port = free_port() if certificate is not None else None

    @property
    def url(self) -> str:
        """Where it serves LDAP; with a certificate also StartTLS."""
        return f"ldap://{LOOPBACK}:{self.port}"

    @property
    def ldaps_url(self) -> str | None:
        """Where it serves LDAPS, if it does."""
        return None if self.ldaps_port is None else f"ldaps://localhost:{self.ldaps_port}"

    @property
    def ldapi_url(self) -> str:
        """Where it serves LDAP on a Unix socket."""
        return _ldapi(self.directory / "ldapi")

    @property
    def log(self) -> str:
        """What slapd has written, as `loglevel` says."""
        return self.output

    def dn(self, who: Person) -> str:
        """The distinguished name of a person's entry."""
        return who.dn

    def bad_passwords(self, dn: str) -> int:
        """Returns how many wrong passwords in a row the policy remembers of an account."""
        return len(self.entry(dn, "pwdFailureTime").get("pwdFailureTime", []))

    def unlock(self, dn: str) -> None:
        """Lets an account that wrong passwords have locked start anew, as the administrator does."""
        if self.entry(dn, "pwdAccountLockedTime"):
            self.modify_ldif(f"dn: {dn}\nchangetype: modify\ndelete: pwdAccountLockedTime\n")

    def can_bind(self, dn: str, password: str | bytes) -> bool:
        """Says whether slapd accepts a password.

        Raises:
            ServerError: It has answered neither yes nor no.
        """
        done = self._tool("ldapwhoami", "-D", dn, "-w", password)
        if done.returncode not in {_SUCCESS, _INVALID_CREDENTIALS, _UNWILLING_TO_PERFORM}:
            raise failure(done)
        return done.returncode == _SUCCESS

    def entry(self, dn: str, *attributes: str) -> dict[str, list[bytes]]:
        """Returns an entry as the administrator sees it, or an empty dict when there is none.

        Args:
            dn: The distinguished name.
            *attributes: What to read, `+` for the operational attributes; all user attributes, if not given.
        """
        options = ("-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn)
        done = self._tool("ldapsearch", *self._as_admin, *options, "(objectClass=*)", *attributes)
        if done.returncode == _NO_SUCH_OBJECT:
            return {}
        return ldif.parse_entry(_checked(done).stdout)

    def found_through_aliases(self, base: str, search_filter: str) -> list[bytes]:
        """Returns the lines with the DNs of what the administrator finds below a base when aliases are followed."""
        options = ("-LLL", "-o", "ldif-wrap=no", "-a", "always", "-b", base)
        done = _checked(self._tool("ldapsearch", *self._as_admin, *options, search_filter, "1.1"))
        return [line for line in done.stdout.splitlines() if line.startswith(b"dn:")]

    def modify_ldif(self, text: str) -> None:
        """Does the changes of an LDIF text as the administrator; a record without changetype is a modification."""
        _checked(self._tool("ldapmodify", *self._as_admin, text=text))

    def delete(self, dn: str) -> None:
        """Deletes an entry as the administrator."""
        _checked(self._tool("ldapdelete", *self._as_admin, dn))

    def operations(self) -> Counter[str]:
        """Returns how many connections (`ACCEPT`) and requests (`BIND`, `SRCH`, `MOD`, ...) there were in all.

        What the methods of this class ask does not count.

        Raises:
            ServerError: It is not logged; the `loglevel` must be `stats`.
        """
        if "stats" not in self._loglevel:
            raise ServerError('slapd counts operations only with loglevel="stats"')
        return _count(self.log, ignored_listener=f"PATH={self._own_socket}")

    @property
    def _own_socket(self) -> Path:
        """The socket of this class alone, which makes its requests tellable from those of the code under test."""
        return self.directory / "own"

    @property
    def _as_admin(self) -> tuple[str, ...]:
        return ("-D", self.admin_dn, "-w", self.admin_password)

    @property
    def _configuration_file(self) -> Path:
        return self.directory / "slapd.conf"

    def _prepare(self) -> None:
        (self.directory / "data").mkdir()
        self._configuration_file.write_text(slapd_config.configuration(self.directory, self._settings))
        # slapd is also slapadd, when told so.
        command = [self._program, "-T", "add", "-q", "-f", str(self._configuration_file)]
        _checked(_run(command, text=slapd_config.entries(self._settings)))

    def _command(self) -> Sequence[str]:
        # A level makes slapd stay in the foreground; unlike 0, none still has the reason when it cannot start.
        arguments = ["-d", self._loglevel, "-f", str(self._configuration_file), "-h", " ".join(self._listeners())]
        return [self._program, *arguments]

    def _listeners(self) -> list[str]:
        """Returns what to listen on; its own socket is the last, so when that is open, all are."""
        # Not the name localhost: it may have an IPv6 address, where the port was not looked for.
        ldaps = [] if self.ldaps_port is None else [f"ldaps://{LOOPBACK}:{self.ldaps_port}"]
        return [self.url, *ldaps, self.ldapi_url, _ldapi(self._own_socket)]

    def _environment(self) -> Mapping[str, str]:
        return _environment()

    def _is_ready(self) -> bool:
        return accepts(self._own_socket)

    def _tool(self, program: str, *arguments: str | bytes, text: str = "") -> subprocess.CompletedProcess[bytes]:
        command = [find_program(program, INSTALL_COMMAND), "-x", "-H", _ldapi(self._own_socket), *arguments]
        return _run(command, text=text)


def _ldapi(path: Path) -> str:
    return f"ldapi://{quote(str(path), safe='')}"


def _environment() -> dict[str, str]:
    # The machine's and the user's ldap.conf are not to change anything.
    return {**os.environ, "LDAPNOINIT": "1"}


def _run(command: Sequence[str | bytes], *, text: str) -> subprocess.CompletedProcess[bytes]:
    octets = [argument.encode() if isinstance(argument, str) else argument for argument in command]
    return subprocess.run(octets, input=text.encode(), capture_output=True, env=_environment(), check=False, timeout=30)


def _checked(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
    if done.returncode != _SUCCESS:
        raise failure(done)
    return done


def _count(log: str, ignored_listener: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    ignored: set[str] = set()
    for line in log.splitlines():
        accept = _ACCEPT.search(line)
        request = _REQUEST.search(line)
        if accept is not None:
            connection, kind, listener = accept.groups()
            # Numbers are used again after a restart.
            (ignored.add if listener == ignored_listener else ignored.discard)(connection)
        elif request is not None:
            connection, kind = request[1], next(filter(None, request.groups()[1:]))
        else:
            continue
        if connection not in ignored:
            counts[kind] += 1
    return counts
