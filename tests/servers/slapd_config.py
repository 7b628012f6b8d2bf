"""The configuration and the first entries of the private slapd."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.servers import ldif
from tests.servers.certificates import CLIENT_NAME, KeyPair
from tests.servers.people import PEOPLE, PEOPLE_DN, SUFFIX, State

SERVICES_DN = f"ou=services,{SUFFIX}"
POLICIES_DN = f"ou=policies,{SUFFIX}"
ADMIN_DN = f"cn=admin,{SUFFIX}"
ADMIN_PASSWORD = "admin-secret"
SERVICE_DN = f"cn=xmpp,{SERVICES_DN}"
SERVICE_PASSWORD = "service-secret"
READER_DN = f"cn=reader,{SERVICES_DN}"
READER_PASSWORD = "reader-secret"
POLICY_DN = f"cn=default,{POLICIES_DN}"

_GLOBAL = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb.la
pidfile "{directory}/slapd.pid"
argsfile "{directory}/slapd.args"
# Nothing goes to the system's log; what is wanted goes to standard error.
loglevel 0
password-hash {{SSHA}}
# SASL EXTERNAL is the service account: over TLS with its certificate, and over the Unix socket as the tests' own user.
authz-regexp "^cn={client_name}(,.*)?$" "{service}"
authz-regexp "^gidNumber={gid}\\\\+uidNumber={uid},cn=peercred,cn=external,cn=auth$" "{service}"
"""

_DATABASE = """\
database mdb
suffix "{suffix}"
rootdn "{admin}"
rootpw {admin_password}
directory "{directory}/data"
maxsize 67108864
# The data need not outlive a power cut, and the tests need not wait for the disk.
dbnosync
index {indexes} eq
{rules}
"""

# As a company has them. The service account sets passwords, yet cannot read them; nobody but the root DN can.
_ACCESS = """\
access to attrs=userPassword
  by dn.exact="{service}" =wx
  by anonymous auth
  by * none
access to dn.subtree="{people}" attrs=entry,children
  by dn.exact="{service}" write
  by dn.exact="{reader}" read
  by self {selves}
  by * {others}
access to dn.subtree="ou=groups,{suffix}"
  by users read
access to *
  by dn.exact="{service}" read
  by dn.exact="{reader}" read
  by self {selves}
  by * {others}
"""

# In front of the rest: the service account may also lock an account.
_LOCK_ACCESS = """\
access to attrs=pwdAccountLockedTime
  by dn.exact="{service}" write
  by * read
"""

_PASSWORD_POLICY = """\
overlay ppolicy
ppolicy_default "{policy}"
ppolicy_hash_cleartext
# Without this line it tells nobody that an account is locked.
ppolicy_use_lockout
"""

_LONG_AGO = "20200101000000Z"
# As the administrator locks an account, for good; see slapo-ppolicy(5).
_LOCKED_FOR_GOOD = "000001010000Z"

# The policy of the accounts in a state: that of all others, with three guesses, a hundred days, a warning on the last.
_STRICT = [
    ("pwdMaxFailure", "3"),
    ("pwdMaxAge", "8640000"),
    ("pwdExpireWarning", "86400"),
    ("pwdMustChange", "TRUE"),
]
_LENIENT = [*_STRICT, ("pwdGraceAuthNLimit", "3")]
_PATIENT = [*_STRICT, ("pwdMinAge", "86400")]


@dataclass(frozen=True)
class Settings:
    """What differs between one private slapd and another; see `Slapd` for the meanings."""

    certificate: KeyPair | None = None
    client_ca: Path | None = None
    ppolicy: bool = False
    anonymous_read: bool = False
    hidden: bool = False
    extra_ldif: str = ""
    indexes: str = "objectClass,uid,mail"
    rules: str = ""
    memberof: bool = False


def configuration(directory: Path, settings: Settings) -> str:
    """Returns the text of slapd.conf."""
    overlays = {"ppolicy": settings.ppolicy, "memberof": settings.memberof}
    modules = [f"moduleload {name}.la\n" for name, is_wanted in overlays.items() if is_wanted]
    lock = [_LOCK_ACCESS] if settings.ppolicy else []
    parts = [_GLOBAL, *modules, "{tls}", _DATABASE, *lock, _ACCESS]
    if settings.memberof:
        parts.append("overlay memberof\n")
    if settings.ppolicy:
        parts.append(_PASSWORD_POLICY)
    return "\n".join(parts).format(
        directory=directory,
        client_name=CLIENT_NAME,
        uid=os.getuid(),
        gid=os.getgid(),
        suffix=SUFFIX,
        people=PEOPLE_DN,
        admin=ADMIN_DN,
        admin_password=ADMIN_PASSWORD,
        service=SERVICE_DN,
        reader=READER_DN,
        policy=POLICY_DN,
        selves="none" if settings.hidden else "read",
        others="read" if settings.anonymous_read else "none",
        indexes=settings.indexes,
        rules=settings.rules,
        tls=_tls(settings),
    )


def entries(settings: Settings) -> str:
    """Returns the LDIF of the first entries."""
    units = sorted({person.parent_dn for person in PEOPLE} - {PEOPLE_DN})
    return "".join(
        [
            ldif.entry(SUFFIX, [("objectClass", "organization"), ("objectClass", "dcObject"), ("o", "Example")]),
            *(_unit(dn) for dn in (PEOPLE_DN, SERVICES_DN, POLICIES_DN, *units)),
            _service(SERVICE_DN, SERVICE_PASSWORD),
            _service(READER_DN, READER_PASSWORD),
            *(person.ldif for person in PEOPLE),
            *([_policy(POLICY_DN), _states()] if settings.ppolicy else []),
            settings.extra_ldif,
        ]
    )


def _tls(settings: Settings) -> str:
    if settings.certificate is None:
        return ""
    text = (
        f'TLSCertificateFile "{settings.certificate.certificate}"\nTLSCertificateKeyFile "{settings.certificate.key}"\n'
    )
    if settings.client_ca is not None:
        text += f'TLSCACertificateFile "{settings.client_ca}"\nTLSVerifyClient try\n'
    return text


def _unit(dn: str) -> str:
    return ldif.entry(dn, [("objectClass", "organizationalUnit")])


def _service(dn: str, password: str) -> str:
    # Of the classes that have a password in the standard schemas this is the one for programs.
    return ldif.entry(
        dn,
        [
            ("objectClass", "applicationProcess"),
            ("objectClass", "simpleSecurityObject"),
            ("userPassword", password),
        ],
    )


def _policy(dn: str, *more: tuple[str, str]) -> str:
    attributes: list[tuple[str, str | bytes]] = [
        ("objectClass", "applicationProcess"),
        ("objectClass", "pwdPolicy"),
        ("pwdAttribute", "userPassword"),
        ("pwdMinLength", "8"),
        # 2: a password that cannot be checked is refused too.
        ("pwdCheckQuality", "2"),
        ("pwdInHistory", "3"),
        # An entry with pwdAccountLockedTime is locked; wrong passwords alone never lock one, there is no pwdMaxFailure.
        ("pwdLockout", "TRUE"),
        *more,
    ]
    return ldif.entry(dn, attributes)


def _states() -> str:
    """The accounts in their states, as operational attributes say them, and the policies that they need."""
    almost_over = datetime.now(UTC) - timedelta(days=99, hours=12)
    strict, lenient, patient = (f"cn={name},{POLICIES_DN}" for name in ("strict", "lenient", "patient"))
    values = {
        State.DISABLED: [("pwdAccountLockedTime", _LOCKED_FOR_GOOD)],
        State.ACCOUNT_EXPIRED: [("pwdEndTime", _LONG_AGO)],
        State.PASSWORD_EXPIRED: [("pwdChangedTime", _LONG_AGO)],
        State.MUST_CHANGE: [("pwdReset", "TRUE")],
        State.GRACE: [("pwdChangedTime", _LONG_AGO), ("pwdPolicySubentry", lenient)],
        State.EXPIRES_SOON: [("pwdChangedTime", f"{almost_over:%Y%m%d%H%M%SZ}")],
        State.EASILY_LOCKED: [],
        State.TOO_YOUNG: [("pwdChangedTime", f"{datetime.now(UTC):%Y%m%d%H%M%SZ}"), ("pwdPolicySubentry", patient)],
    }
    policies = [_policy(strict, *_STRICT), _policy(lenient, *_LENIENT), _policy(patient, *_PATIENT)]
    return "".join([*policies, *(_person_in(state, strict, dict(more)) for state, more in values.items())])


def _person_in(state: State, policy: str, more: dict[str, str]) -> str:
    lines = {"pwdPolicySubentry": policy, **more}
    return state.person.ldif.rstrip("\n") + "\n" + "".join(ldif.line(*pair) for pair in lines.items()) + "\n"
