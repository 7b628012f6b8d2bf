"""A private Active Directory: a Samba domain controller, with people of `tests.servers.people` in it."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers import ldif
from tests.servers.certificates import CertificateAuthority
from tests.servers.people import PEOPLE, TWINS, Person, State
from tests.servers.ports import free_address
from tests.servers.process import Daemon, ServerError, accepts, checked, find_program

__all__ = ["INSTALL_COMMAND", "Samba"]

INSTALL_COMMAND = "apt-get install samba samba-ad-dc samba-ad-provision samba-dsdb-modules winbind ldb-tools ldap-utils"

REALM = "CORP.EXAMPLE.COM"
SUFFIX = "DC=corp,DC=example,DC=com"
PEOPLE_DN = f"OU=people,{SUFFIX}"
SERVICES_DN = f"OU=services,{SUFFIX}"

# LDAP, LDAPS, both of the global catalogue, Kerberos and its password changes. Samba lets nobody choose them.
_PORTS = (389, 636, 3268, 3269, 88, 464)

# [MS-SAMR] 3.1.1.7.1: what may not stand in a sAMAccountName, and how long one is.
_NOT_IN_NAMES = set('"/\\[]:;|=,+*?<>@')
_LONGEST_NAME = 20

_LONG_AGO = 130_000_000_000_000_000  # in 2012, as Active Directory counts time: 100 ns since 1601

_KERBEROS = """\
[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
[realms]
{realm} = {{
  kdc = {kdc}
}}
"""

# Samba's own controls, by which its tools set what no client may.
_BYPASS_PASSWORD_LAST_SET = "local_oid:1.3.6.1.4.1.7165.4.3.20:0"

_DIRECTORIES = ("private", "lock", "cache", "run", "ncalrpc", "ntp", "winbindd", "bind-dns", "state/sysvol/scripts")

_CONFIGURATION = """\
[global]
realm = {realm}
workgroup = CORP
netbios name = DC1
server role = active directory domain controller
server services = ldap kdc
# As Windows: Kerberos needs no layer of its own within TLS.
ldap server require strong auth = allow_sasl_over_tls
interfaces = {address}/8
bind interfaces only = yes
tls certfile = {certificate}
tls keyfile = {key}
tls cafile = {ca}
# As a Windows server, Samba takes the password before the last one for an hour. Tests have no hour.
old password allowed period = 0
log file = {directory}/log
private dir = {directory}/private
lock directory = {directory}/lock
state directory = {directory}/state
cache directory = {directory}/cache
pid directory = {directory}/run
ncalrpc dir = {directory}/ncalrpc
ntp signd socket directory = {directory}/ntp
winbindd socket directory = {directory}/winbindd
binddns dir = {directory}/bind-dns

[sysvol]
path = {directory}/state/sysvol

[netlogon]
path = {directory}/state/sysvol/scripts
"""

# Eight characters of three kinds, none of the last three, three guesses.
_POLICY = f"""\
dn: {SUFFIX}
changetype: modify
replace: minPwdLength
minPwdLength: 8
-
replace: pwdProperties
pwdProperties: 1
-
replace: pwdHistoryLength
pwdHistoryLength: 3
-
replace: minPwdAge
minPwdAge: 0
-
replace: lockoutThreshold
lockoutThreshold: 3

"""

_NO_POLICY = f"""\
dn: {SUFFIX}
changetype: modify
replace: minPwdLength
minPwdLength: 0
-
replace: pwdProperties
pwdProperties: 0

"""

# Rights on the people below, for whoever's SID is filled in: to reset a password, to switch an account off
# (userAccountControl), and to make and delete users.
_RIGHTS = (
    "(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;{sid})",
    "(OA;CIIO;WP;bf967a68-0de6-11d0-a285-00aa003049e2;bf967aba-0de6-11d0-a285-00aa003049e2;{sid})",
    "(OA;CI;CCDC;bf967aba-0de6-11d0-a285-00aa003049e2;;{sid})",
)


class Samba(Daemon):
    """A domain controller of its own on loopback, LDAP and Kerberos: `with Samba(directory) as samba: ...`.

    The standard ports are all that it can have, so it has a loopback address to itself. Its people are those whose
    names Active Directory takes, and each `State` but `GRACE`, `EXPIRES_SOON` and `TOO_YOUNG`, which it does not know.
    The service account resets passwords and makes and deletes users below `people_dn`; the reader has no such right.

    Attributes:
        address: Its address.
        ca: Who signed its certificate.
    """

    suffix = SUFFIX
    people_dn = PEOPLE_DN
    service_dn = f"CN=xmpp,{SERVICES_DN}"
    service_password = "Service-secret-1"
    reader_dn = f"CN=reader,{SERVICES_DN}"
    reader_password = "Reader-secret-1"
    admin_password = "Admin-secret-1"

    start_seconds = 60.0

    def __init__(self, authority: CertificateAuthority) -> None:
        """Prepares a server; nothing runs yet.

        Args:
            authority: Who issues its certificate.

        Raises:
            ServerError: Samba or its tools are not installed, or the user is not root, as Samba wants it.
        """
        super().__init__("samba")
        self._program = find_program("samba", INSTALL_COMMAND)
        for tool in ("samba-tool", "ldbadd"):
            find_program(tool, INSTALL_COMMAND)
        if os.geteuid() != 0:
            raise ServerError("Samba's domain controller runs as root only: run the tests as root")
        self.address = free_address(*_PORTS)
        self.ca = authority.ca
        self._certificate = authority.issue("samba", self.address, "localhost")

    @property
    def url(self) -> str:
        """Where it serves LDAP, with StartTLS: it takes no password in clear."""
        return f"ldap://{self.address}"

    @property
    def ldaps_url(self) -> str:
        """Where it serves LDAPS."""
        return f"ldaps://{self.address}"

    @property
    def people(self) -> list[Person]:
        """The people of the test directory who have a name for Active Directory, and an own password."""
        return [who for who in PEOPLE if who not in TWINS and who.password is not None and _is_name(who.uid)]

    @property
    def keytab(self) -> Path:
        """The service account's keytab."""
        return self.directory / "xmpp.keytab"

    @property
    def kerberos(self) -> Path:
        """What the Kerberos library is to be told, by the variable `KRB5_CONFIG`."""
        return self.directory / "krb5.conf"

    def dn(self, who: Person) -> str:
        """The distinguished name of a person's entry."""
        return f"CN={ldif.escape_rdn_value(who.cn)},{PEOPLE_DN}"

    def entry(self, dn: str, *attributes: str) -> dict[str, list[bytes]]:
        """Returns an entry with every right, or an empty dict when there is none."""
        done = subprocess.run(
            [*self._tool("ldbsearch"), "-b", dn, "-s", "base", "(objectClass=*)", *attributes],
            capture_output=True,
            check=False,
            timeout=30,
        )
        lines = [line for line in done.stdout.replace(b"\n ", b"").splitlines() if not line.startswith(b"#")]
        return ldif.parse_entry(b"\n".join(lines)) if done.returncode == 0 else {}

    def modify_ldif(self, text: str, *controls: str) -> None:
        """Does the changes of an LDIF text with every right.

        Args:
            text: The LDIF.
            *controls: Controls of Samba's, as ldbmodify takes them.
        """
        options = [f"--controls={control}" for control in controls]
        checked([*self._tool("ldbmodify"), *options], text)

    def export_keytab(self, name: str, keytab: Path) -> None:
        """Writes the keys of an account, as they are now, into a keytab."""
        self._samba_tool("domain", "exportkeytab", str(keytab), f"--principal={name}")

    def bad_passwords(self, dn: str) -> int:
        """Returns how many wrong passwords in a row are counted against an account."""
        return int(self.entry(dn, "badPwdCount").get("badPwdCount", [b"0"])[0])

    def unlock(self, dn: str) -> None:
        """Lets an account that wrong passwords have locked start anew, as the administrator does."""
        self.modify_ldif(f"dn: {dn}\nchangetype: modify\nreplace: lockoutTime\nlockoutTime: 0\n")

    @property
    def _configuration_file(self) -> Path:
        return self.directory / "smb.conf"

    @property
    def _socket(self) -> Path:
        """The socket on which whoever may open it has every right; it is there once all of the server is."""
        return self.directory / "private" / "ldap_priv" / "ldapi"

    def _prepare(self) -> None:
        for name in _DIRECTORIES:
            (self.directory / name).mkdir(parents=True)
        self._certificate.key.chmod(0o600)  # Samba uses no other
        self._configuration_file.write_text(
            _CONFIGURATION.format(
                realm=REALM,
                address=self.address,
                certificate=self._certificate.certificate,
                key=self._certificate.key,
                ca=self.ca,
                directory=self.directory,
            )
        )
        self._samba_tool(
            "domain", "provision", "--use-rfc2307", f"--realm={REALM}", "--domain=CORP", "--server-role=dc",
            "--dns-backend=NONE", "--host-name=dc1", f"--host-ip={self.address}", f"--adminpass={self.admin_password}",
        )  # fmt: skip
        self._fill()
        self.kerberos.write_text(_KERBEROS.format(realm=REALM, kdc=self.address))
        self._samba_tool("spn", "add", f"ldap/{self.address}", "DC1$")
        self.export_keytab("xmpp", self.keytab)

    def _fill(self) -> None:
        """Adds the people; Samba's tools do it on the database itself, before the server runs."""
        states = [state.person for state in State]
        self.modify_ldif(_NO_POLICY)
        checked(
            self._tool("ldbadd"),
            "".join(
                [
                    *(ldif.entry(dn, [("objectClass", "organizationalUnit")]) for dn in (PEOPLE_DN, SERVICES_DN)),
                    _user(self.service_dn, "xmpp", self.service_password),
                    _user(self.reader_dn, "reader", self.reader_password),
                    *(_person(self.dn(who), who) for who in (*self.people, *states)),
                ]
            ),
        )
        self.modify_ldif(_states(self), _BYPASS_PASSWORD_LAST_SET)
        self.modify_ldif(_POLICY)
        sid = self.entry(self.service_dn, "objectSid")["objectSid"][0].decode()
        self._samba_tool("dsacl", "set", f"--objectdn={PEOPLE_DN}", f"--sddl={''.join(_RIGHTS).format(sid=sid)}")

    def _command(self) -> Sequence[str]:
        # One process: Samba writes over its environment, by which others would be found and ended.
        return [
            self._program, "--foreground", "--no-process-group", "--model=single", "--debug-stdout",
            f"--configfile={self._configuration_file}",
        ]  # fmt: skip

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _is_ready(self) -> bool:
        return accepts(self._socket)

    def _samba_tool(self, *arguments: str) -> None:
        checked([find_program("samba-tool", INSTALL_COMMAND), *arguments, f"--configfile={self._configuration_file}"])

    def _tool(self, program: str) -> list[str]:
        """The beginning of a command that works on the database."""
        database = self.directory / "private" / "sam.ldb"
        return [find_program(program, INSTALL_COMMAND), f"--configfile={self._configuration_file}", "-H", str(database)]


def _is_name(uid: str) -> bool:
    return len(uid) <= _LONGEST_NAME and not set(uid) & _NOT_IN_NAMES


def _user(dn: str, name: str, password: str, *more: tuple[str, str | bytes]) -> str:
    """The LDIF of a user whose account is on (512, a normal one)."""
    attributes: list[tuple[str, str | bytes]] = [
        ("objectClass", "user"),
        ("sAMAccountName", name),
        ("userPrincipalName", f"{name}@{REALM.lower()}"),
        ("userAccountControl", "512"),
        ("unicodePwd", f'"{password}"'.encode("utf-16-le")),
        *more,
    ]
    return ldif.entry(dn, attributes)


def _person(dn: str, who: Person) -> str:
    assert who.password is not None
    return _user(dn, who.uid, who.password, ("sn", who.sn), ("mail", who.mail))


def _states(server: Samba) -> str:
    """The LDIF that brings the accounts into their states."""
    values: dict[State, tuple[str, str | bytes]] = {
        State.DISABLED: ("userAccountControl", "514"),
        State.ACCOUNT_EXPIRED: ("accountExpires", str(_LONG_AGO)),
        State.PASSWORD_EXPIRED: ("pwdLastSet", str(_LONG_AGO)),
        State.MUST_CHANGE: ("pwdLastSet", "0"),
        State.AT_NO_TIME: ("logonHours", bytes(21)),  # a bit for each hour of the week
        State.FROM_ELSEWHERE: ("userWorkstations", "PC1"),
    }
    return "".join(
        f"{ldif.line('dn', server.dn(state.person))}changetype: modify\nreplace: {name}\n{ldif.line(name, value)}\n"
        for state, (name, value) in values.items()
    )
