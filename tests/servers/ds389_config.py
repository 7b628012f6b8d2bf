"""The configuration, the first entries and the policies of the private 389 Directory Server."""

import getpass
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.servers import ldif
from tests.servers.certificates import CLIENT_NAME
from tests.servers.people import PEOPLE, PEOPLE_DN, SUFFIX, State
from tests.servers.ports import LOOPBACK

SERVICES_DN = f"ou=services,{SUFFIX}"
ADMIN_DN = "cn=Directory Manager"
ADMIN_PASSWORD = "admin-secret"
SERVICE_DN = f"cn=xmpp,{SERVICES_DN}"
SERVICE_PASSWORD = "service-secret"
READER_DN = f"cn=reader,{SERVICES_DN}"
READER_PASSWORD = "reader-secret"
BACKEND = "userRoot"

DIRECTORIES = ("lock", "tmp", "cert", "ldif", "bak", "run", "inst", "log", "db")

# Whose certificate it is that a client shows: the entry with the common name in it, wherever that is.
CERTIFICATE_MAP = """\
certmap default default
default:DNComps
default:FilterComps cn
default:verifycert off
"""

_TEMPLATES = Path("/usr/share/dirsrv/data")

_LISTENING = """\
nsslapd-listenhost: {host}
nsslapd-securelistenhost: {host}
nsslapd-secureport: {port}
nsslapd-security: on
"""

# The account policy plugin: how long an account may go without a login.
_INACTIVITY = """\
alwaysrecordlogin: no
stateattrname: lastLoginTime
altstateattrname: 1.1
specattrname: acctPolicySubentry
limitattrname: accountInactivityLimit
"""

# Eight characters, none of the last three passwords, three guesses, a hundred days with a warning on the last one.
_POLICY = {
    "passwordLockout": "on",
    "passwordMaxFailure": "3",
    "passwordHistory": "on",
    "passwordInHistory": "3",
    "passwordCheckSyntax": "on",
    "passwordMinLength": "8",
    "passwordExp": "on",
    "passwordMaxAge": "8640000",
    "passwordWarning": "86400",
    "nsslapd-pwpolicy-local": "on",
}

# Policies of single accounts, each in place of the whole general one: the attribute that names it, its class, itself.
_OWN_POLICIES = {
    State.MUST_CHANGE: ("pwdpolicysubentry", "passwordPolicy", {"passwordMustChange": "on"}),
    State.GRACE: ("pwdpolicysubentry", "passwordPolicy", {"passwordExp": "on", "passwordGraceLimit": "3"}),
    State.ACCOUNT_EXPIRED: ("acctPolicySubentry", "accountPolicy", {"accountInactivityLimit": "86400"}),
}

_LONG_AGO = "20200101000000Z"

_READ = 'allow (read,search,compare) userdn="ldap:///'
_SERVICE = f'userdn="ldap:///{SERVICE_DN}";)'
# As a company has them. The service account sets passwords, yet cannot read them.
_ACCESS = (
    f'(targetattr!="userPassword")(version 3.0; acl "services read"; {_READ}cn=*,{SERVICES_DN}";)',
    f'(target="ldap:///{PEOPLE_DN}")(targetattr="userPassword")(version 3.0; acl "passwords"; allow (write) {_SERVICE}',
    f'(target="ldap:///{PEOPLE_DN}")(targetattr="nsAccountLock")(version 3.0; acl "locks"; allow (write) {_SERVICE}',
    f'(target="ldap:///{PEOPLE_DN}")(version 3.0; acl "accounts"; allow (add,delete) {_SERVICE}',
    f'(targetattr!="userPassword")(version 3.0; acl "selves"; {_READ}self";)',
    f'(target="ldap:///ou=groups,{SUFFIX}")(targetattr="*")(version 3.0; acl "groups"; {_READ}all";)',
)


def configuration(directory: Path, instance: Path, ports: tuple[int, int], hashed: str) -> str:
    """Returns the text of dse.ldif.

    Debian's templates are filled in here: the last step of `dscreate`, which does so too, wants systemd, and it would
    put the server's files all over the system.

    Args:
        directory: Where the directories of `DIRECTORIES` are, and the Unix socket.
        instance: The directory of the configuration.
        ports: Those for LDAP and LDAPS.
        hashed: The administrator's password, as `pwdhash` writes it.
    """
    values = {
        **{f"{name}_dir": directory / name for name in DIRECTORIES},
        "config_dir": instance,
        "schema_dir": instance / "schema",
        "db_home_dir": directory / "db",
        "db_lib": "bdb",
        "ldapi_enabled": "on",
        "ldapi": directory / "ldapi",
        "ldapi_autobind": "on",  # by SASL EXTERNAL, root is the administrator
        "fqdn": "localhost",
        "ds_port": ports[0],
        "ds_user": getpass.getuser(),
        "ds_suffix": SUFFIX,
        "ds_bename": BACKEND,
        "rootdn": ADMIN_DN,
        "ds_passwd": hashed,
    }
    text = (_TEMPLATES / "template-dse.ldif").read_text()
    text = text.replace("nsslapd-port:", f"{_LISTENING.format(host=LOOPBACK, port=ports[1])}nsslapd-port:", 1)
    text = re.sub(r"(acct_policy_init\n.*\n.*Enabled: )off", r"\1on", text)
    text = re.sub(r"(memberof_postop_init\n.*\n.*enabled: )off", r"\1on", text)
    text = text.replace("alwaysrecordlogin: no\n", _INACTIVITY)
    text += re.sub(r"(?m)^#.*\n", "", (_TEMPLATES / "template-suffix-db.ldif").read_text())
    return re.sub(r"%(\w+)%", lambda match: str(values[match[1]]), text)


def entries() -> str:
    """Returns the LDIF of the first entries."""
    units = sorted({person.parent_dn for person in PEOPLE} - {PEOPLE_DN})
    domain = [("objectClass", "domain"), ("dc", "example"), *(("aci", aci) for aci in _ACCESS)]
    return "".join(
        [
            ldif.entry(SUFFIX, domain),
            *(ldif.entry(dn, [("objectClass", "organizationalUnit")]) for dn in (PEOPLE_DN, SERVICES_DN, *units)),
            _service(SERVICE_DN, SERVICE_PASSWORD, ("cn", CLIENT_NAME)),
            _service(READER_DN, READER_PASSWORD),
            *(person.ldif for person in PEOPLE),
            *(state.person.ldif for state in State),
        ]
    )


def policies() -> str:
    """Returns the LDIF of what is changed once the server runs: its policies, and the accounts in their states."""
    almost_over = datetime.now(UTC) + timedelta(hours=12)
    values = {
        State.DISABLED: {"nsAccountLock": "true"},
        State.ACCOUNT_EXPIRED: {"lastLoginTime": _LONG_AGO},
        State.PASSWORD_EXPIRED: {"passwordExpirationTime": _LONG_AGO},
        State.GRACE: {"passwordExpirationTime": _LONG_AGO},
        State.EXPIRES_SOON: {"passwordExpirationTime": f"{almost_over:%Y%m%d%H%M%SZ}"},
        # An administrator sets it anew.
        State.MUST_CHANGE: {"userPassword": str(State.MUST_CHANGE.person.password)},
    }
    own = "".join(_own_policy(state, *policy) for state, policy in _OWN_POLICIES.items())
    return _change("cn=config", _POLICY) + own + "".join(_change(state.person.dn, new) for state, new in values.items())


def _service(dn: str, password: str, *more: tuple[str, str]) -> str:
    classes = [("objectClass", "applicationProcess"), ("objectClass", "simpleSecurityObject")]
    return ldif.entry(dn, [*classes, ("userPassword", password), *more])


def _own_policy(state: State, attribute: str, object_class: str, settings: dict[str, str]) -> str:
    dn = f"cn={state.value},{SERVICES_DN}"
    classes = [("objectClass", name) for name in ("extensibleObject", "ldapSubentry", object_class)]
    added = ldif.entry(dn, [("changetype", "add"), *classes, *settings.items()])
    return added + _change(state.person.dn, {attribute: dn})


def _change(dn: str, values: dict[str, str]) -> str:
    replaced = [f"replace: {name}\n{ldif.line(name, value)}" for name, value in values.items()]
    return f"dn: {dn}\nchangetype: modify\n" + "-\n".join(replaced) + "\n"
