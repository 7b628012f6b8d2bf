"""The configuration: each mistake is one line that names its key, and no line, dump or repr ever shows a secret."""

import contextlib
import os
import tomllib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldapauth import config
from ldapauth.config import Domain, Secret, Server, Settings
from ldapauth.errors import ConfigurationError
from ldapauth.provider import Provider

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For whatever runs on a busy machine: that it takes long is no failure."""

D = 'domains."example.com"'
MARKER = "s3cr3t-marker"


def domain(*lines: str, servers: str = '["ldaps://ldap.example.com"]', base_dn: str = '"dc=example,dc=com"') -> str:
    """A configuration with one domain, right but for the lines given."""
    needed = [f"servers = {servers}", f"base_dn = {base_dn}"] if base_dn else [f"servers = {servers}"]
    return "\n".join([f"[{D}]", *needed, *lines, ""])


def write(directory: Path, text: str, mode: int = 0o600) -> str:
    """Writes a configuration and returns its path."""
    file = directory / "ldapauth.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return str(file)


def load(directory: Path, text: str) -> Settings:
    """The settings of a configuration, whose directories can be built too."""
    loaded = config.load(write(directory, text))
    Provider(loaded)
    return loaded


def mistakes(directory: Path, text: str) -> list[str]:
    """The lines that a configuration is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        load(directory, text)
    return list(caught.value.problems)


# Every mistake, one line

NO_SYSTEMD = "$CREDENTIALS_DIRECTORY is not set: systemd sets it, for a unit with LoadCredential="
CLEAR = (
    "passwords would cross the network in clear:"
    " use ldaps://, or start_tls = true, or (not advised) insecure_plaintext = true"
)
SCHEMES = "expected a URL that begins with ldap://, ldaps:// or ldapi://"
PORTS = "expected a port from 1 to 65535"
BEHIND = "expected nothing behind the host and port: the base DN has its own setting"
USER = "expected no user name in the URL: the service account has its own settings"
SOCKET = "expected ldapi:// and the socket's path with each / written as %2F"
HOST = "expected a host"
OPERATIONS = 'expected one of "check_password", "user_exists", "set_password", "register", "remove_user", "get_certs"'
TARGET = 'log.target: expected "stderr", "syslog", "none" or an absolute path'
NO_FILTER = "is not a search filter (RFC 4515)"
NO_USER = "nowhere asks that an attribute be equal to {user}, as in (uid={user})"
PLACEHOLDERS = "there are {user}, {domain} and {dc}"

SHAPES = {
    "unknown table": (domain() + "[smtp]\n", ["smtp: unknown key"]),
    "unknown key at the top": ("port = 5\n" + domain(), ["port: unknown key"]),
    "unknown key in a place": (
        domain("[[domains.'example.com'.search]]", 'base = "dc=x"', base_dn=""),
        [f"{D}.search[0].base: unknown key"],
    ),
    "a place without a base DN": (
        domain("[[domains.'example.com'.search]]", 'scope = "one"', base_dn=""),
        [f"{D}.search[0].base_dn: is missing"],
    ),
    "unknown scope of a place": (
        domain("[[domains.'example.com'.search]]", 'base_dn = "dc=x"', 'scope = "tree"', base_dn=""),
        [f'{D}.search[0].scope: expected one of "sub", "one", "base"'],
    ),
    "places beside a single one": (
        domain('filter = "(uid={user})"', "[[domains.'example.com'.search]]", 'base_dn = "dc=x"'),
        [f"{D}.base_dn: contradicts search", f"{D}.filter: contradicts search"],
    ),
    "an external bind with a DN": (
        domain('bind = "external"', 'bind_dn = "cn=x"', 'bind_password = "x"', servers='["ldapi://%2Fx"]'),
        [
            f'{D}.{key}: contradicts bind = "external", which knows the account without'
            for key in ("bind_dn", "bind_password")
        ],
    ),
    "Kerberos without a keytab": (
        domain('bind = "gssapi"', 'bind_dn = "cn=x"', servers='["ldapi://%2Fx"]'),
        [
            f'{D}.bind_dn: contradicts bind = "gssapi", which knows the account without',
            f'{D}.keytab: is missing, for bind = "gssapi"',
            f'{D}.bind: "gssapi" needs the name of a host, which ldapi:// has not',
        ],
    ),
    "a keytab without Kerberos": (
        domain('keytab = "secret"'),
        [f'{D}.keytab: is of no use without bind = "gssapi"'],
    ),
    "an external bind without a certificate": (
        domain('bind = "external"'),
        [f'{D}.client_cert: is missing: with bind = "external" it says who the service account is, but on ldapi://'],
    ),
    "an external bind in clear": (
        domain('bind = "external"', 'client_cert = "secret"', servers='["ldap://localhost"]'),
        [f'{D}.bind: "external" needs TLS, in which client_cert is shown: use ldaps://, or start_tls = true'],
    ),
    "a principal name and nowhere to search": (
        domain('user_dn = "{user}@example.com"', base_dn=""),
        [f"{D}.base_dn: is missing: the entry of whoever has bound by such a user_dn is searched"],
    ),
    "places that nobody searches": (
        domain('user_dn = "uid={user},dc=x"', "[[domains.'example.com'.search]]", 'base_dn = "dc=x"', base_dn=""),
        [f"{D}.search: contradicts user_dn, which needs no search"],
    ),
    "how groups are asked about, and none that are": (
        domain('group_membership = "member"', 'group_base_dn = "dc=x"'),
        [f"{D}.{key}: is of no use without required_groups" for key in ("group_base_dn", "group_membership")],
    ),
    "unknown key in http": (domain() + "[http]\nport = 5\n", ["http.port: unknown key"]),
    "unknown key in generic": (domain() + "[generic]\nport = 5\n", ["generic.port: unknown key"]),
    "unknown key in ejabberd": (domain() + "[ejabberd]\nport = 5\n", ["ejabberd.port: unknown key"]),
    "unknown key in log": (domain() + "[log]\nport = 5\n", ["log.port: unknown key (did you mean format?)"]),
    "a format that there is not": (
        domain() + '[log]\nformat = "xml"\n',
        ['log.format: expected one of "logfmt", "json"'],
    ),
    "unknown key in a domain": (domain("port = 5"), [f"{D}.port: unknown key"]),
    "unknown key in register": (domain("register.port = 5"), [f"{D}.register.port: unknown key"]),
    "http is no table": ("http = 5\n" + domain(), ["http: expected `object`, got `int`"]),
    "log is no table": ("log = []\n" + domain(), ["log: expected `object`, got `array`"]),
    "domains is no table": ("domains = 5\n", ['domains: expected at least one table [domains."example.com"]']),
    "no domains": ("", ['domains: expected at least one table [domains."example.com"]']),
    "an empty table of domains": ("[domains]\n", ['domains: expected at least one table [domains."example.com"]']),
    "a domain is no table": ('[domains]\n"example.com" = 5\n', [f"{D}: expected `object`, got `int`"]),
    "a domain without a name": (
        domain() + '[domains.""]\nservers = ["ldaps://x"]\n',
        ['domains."": expected a domain'],
    ),
    "a domain given twice": (
        domain() + '[domains."EXAMPLE.com"]\nservers = ["ldaps://x"]\nbase_dn = ""\n',
        ['domains."EXAMPLE.com": given twice'],
    ),
    "a number for a text": (domain("filter = 5"), [f"{D}.filter: expected `str | null`, got `int`"]),
    "a number for a text that may be left out": (
        domain("bind_dn = 5"),
        [f"{D}.bind_dn: expected `str | null`, got `int`"],
    ),
    "a date for a text": (domain("filter = 2026-01-01"), [f"{D}.filter: expected `str | null`, got `date`"]),
    "a text for a truth value": (domain('start_tls = "yes"'), [f"{D}.start_tls: expected `bool`, got `str`"]),
    "a number for a truth value": (domain("start_tls = 1"), [f"{D}.start_tls: expected `bool`, got `int`"]),
    "a text for a list": (
        domain(servers='"ldaps://x"'),
        [f'{D}.servers: expected an array of URLs, or "srv:" and a domain'],
    ),
    "SRV records without TLS": (
        domain(servers='"srv:example.com"'),
        [
            (
                f"{D}.servers: DNS lists plain LDAP servers: use start_tls = true, or (not advised) "
                "insecure_plaintext = true"
            )
        ],
    ),
    "a number in a list": (domain(servers='["ldaps://x", 5]'), [f"{D}.servers[1]: expected `str`, got `int`"]),
    "an empty list of servers": (domain(servers="[]"), [f"{D}.servers: expected `array` of length >= 1"]),
    "no servers": (f'[{D}]\nbase_dn = "dc=x"\n', [f"{D}.servers: is missing"]),
    "an empty text": (domain('user_dn = ""', base_dn=""), [f"{D}.user_dn: expected `str` of length >= 1"]),
    "a table for an attribute": (
        domain("register.attributes = 5"),
        [f"{D}.register.attributes: expected `object | null`, got `int`"],
    ),
    "wrong scope": (domain('scope = "subtree"'), [f'{D}.scope: expected one of "sub", "one", "base"']),
    "wrong operation": (domain('operations = ["user_exists", "login"]'), [f"{D}.operations[1]: {OPERATIONS}"]),
    "wrong way": (
        domain('password_change = "unicodePwd"'),
        [f'{D}.password_change: expected one of "auto", "modify", "extended", "ad"'],
    ),
    "wrong kind": (
        domain('directory = "ad"'),
        [f'{D}.directory: expected one of "auto", "active-directory", "389ds", "freeipa", "openldap"'],
    ),
    "wrong answer to who must change": (
        domain('must_change = "yes"'),
        [f'{D}.must_change: expected one of "refuse", "accept"'],
    ),
    "wrong level": (
        domain() + '[log]\nlevel = "INFO"\n',
        ['log.level: expected one of "debug", "info", "warning", "error"'],
    ),
    "several mistakes": (
        domain("port = 5") + '[log]\ntarget = "x"\n[http]\nport = 5\n[smtp]\n',
        ["smtp: unknown key", "http.port: unknown key", f"{D}.port: unknown key", TARGET],
    ),
    "mistakes in two domains": (
        domain("port = 5") + '[domains."*"]\nservers = ["x"]\nbase_dn = ""\n',
        [f"{D}.port: unknown key", f'domains."*".servers[0]: {SCHEMES}'],
    ),
}

SERVERS = {
    "no scheme": ("ldap.example.com", SCHEMES),
    "another scheme": ("https://ldap.example.com", SCHEMES),
    "a scheme without slashes": ("ldaps:ldap.example.com", SCHEMES),
    "no host": ("ldaps://", HOST),
    "only a port": ("ldaps://:636", HOST),
    "port 0": ("ldaps://ldap.example.com:0", PORTS),
    "a port that is too large": ("ldaps://ldap.example.com:65536", PORTS),
    "a negative port": ("ldaps://ldap.example.com:-1", PORTS),
    "a port in words": ("ldaps://ldap.example.com:ldaps", PORTS),
    "two ports": ("ldaps://ldap.example.com:636:636", PORTS),
    "a base DN": ("ldaps://ldap.example.com/dc=example,dc=com", BEHIND),
    "a query": ("ldaps://ldap.example.com?uid", BEHIND),
    "a query behind the slash": ("ldaps://ldap.example.com/?uid", BEHIND),
    "a fragment": ("ldaps://ldap.example.com#x", BEHIND),
    "a user": ("ldaps://xmpp@ldap.example.com", USER),
    "a user with a password": ("ldaps://xmpp:secret@ldap.example.com", USER),
    "an empty user": ("ldaps://@ldap.example.com", USER),
    "ldapi without a path": ("ldapi://", SOCKET),
    "ldapi with a relative path": ("ldapi://run%2Fldapi", SOCKET),
    "in clear": ("ldap://ldap.example.com", CLEAR),
    "in clear, by address": ("ldap://192.0.2.1", CLEAR),
    "in clear, by IPv6 address": ("ldap://[2001:db8::1]:389", CLEAR),
    "in clear, nearly loopback": ("ldap://128.0.0.1", CLEAR),
    "in clear, a name like localhost": ("ldap://localhost.example.com", CLEAR),
    "in clear, a name like an address": ("ldap://127.0.0.1.example.com", CLEAR),
    "in clear, any address": ("ldap://0.0.0.0", CLEAR),
}

RELATIONS = {
    "a key for names that are shown": (
        domain() + "[log]\nusers_key = '0123456789abcdef'\n",
        ['log.users_key: is of no use without users = "hash"'],
    ),
    "a key that can be tried out": (
        domain() + "[log]\nusers = 'hash'\nusers_key = '0123456789abcde'\n",
        ["log.users_key: expected at least 16 characters, or names can be guessed"],
    ),
    "a key's file that is not there": (
        domain() + "[log]\nusers = 'hash'\nusers_key_file = 'missing'\n",
        ["log.users_key_file: {directory}/missing: No such file or directory"],
    ),
    "a server among good ones": (
        domain(servers='["ldaps://a", "ldap://b", "ldap://127.0.0.1"]'),
        [f"{D}.servers[1]: {CLEAR}"],
    ),
    "start_tls with ldaps alone": (
        domain("start_tls = true"),
        [f"{D}.start_tls: is for ldap:// servers, and there is none"],
    ),
    "bind_dn without a password": (
        domain('bind_dn = "cn=x"'),
        [f"{D}.bind_dn: needs bind_password or bind_password_file (RFC 4513 5.1.2: without one the bind is anonymous)"],
    ),
    "a password without bind_dn": (
        domain('bind_password = "x"'),
        [f"{D}.bind_password: is of no use without bind_dn"],
    ),
    "an empty password": (domain('bind_dn = "cn=x"', 'bind_password = ""'), [f"{D}.bind_password: is empty"]),
    "both password and file": (
        domain('bind_dn = "cn=x"', 'bind_password = "x"', 'bind_password_file = "secret"'),
        [f"{D}.bind_password_file: contradicts bind_password"],
    ),
    "an empty password file": (
        domain('bind_dn = "cn=x"', 'bind_password_file = "empty"'),
        [f"{D}.bind_password_file: {{directory}}/empty: is empty"],
    ),
    "a password file with nothing but a line break": (
        domain('bind_dn = "cn=x"', 'bind_password_file = "newline"'),
        [f"{D}.bind_password_file: {{directory}}/newline: is empty"],
    ),
    "a missing password file": (
        domain('bind_dn = "cn=x"', 'bind_password_file = "missing"'),
        [f"{D}.bind_password_file: {{directory}}/missing: No such file or directory"],
    ),
    "a password file that is a directory": (
        domain('bind_dn = "cn=x"', 'bind_password_file = "."'),
        [f"{D}.bind_password_file: {{directory}}: Is a directory"],
    ),
    "a password file that is not UTF-8": (
        domain('bind_dn = "cn=x"', 'bind_password_file = "binary"'),
        [f"{D}.bind_password_file: {{directory}}/binary: is not UTF-8 text"],
    ),
    "neither base_dn nor user_dn": (
        domain(base_dn=""),
        [f"{D}.base_dn: is missing (or user_dn, to bind without a search)"],
    ),
    "user_dn with a filter": (
        domain('user_dn = "uid={user},dc=x"', 'filter = "(cn={user})"'),
        [f"{D}.filter: contradicts user_dn, which needs no search"],
    ),
    "client_key without client_cert": (domain('client_key = "secret"'), [f"{D}.client_key: needs client_cert"]),
    "a missing CA file": (
        domain('ca_file = "missing"'),
        [f"{D}.ca_file: {{directory}}/missing: No such file or directory"],
    ),
    "a missing certificate": (
        domain('client_cert = "missing"', 'client_key = "secret"'),
        [f"{D}.client_cert: {{directory}}/missing: No such file or directory"],
    ),
    "a missing key": (
        domain('client_cert = "secret"', 'client_key = "missing"'),
        [f"{D}.client_key: {{directory}}/missing: No such file or directory"],
    ),
    "a relative log file": (domain() + '[log]\ntarget = "ldapauth.log"\n', [TARGET]),
    "a log target in other case": (domain() + '[log]\ntarget = "STDERR"\n', [TARGET]),
    "credentials without a colon": (
        domain() + '[http]\ncredentials = "x"\n',
        ['http.credentials: expected "user:password"'],
    ),
    "credentials without a user": (
        domain() + '[http]\ncredentials = ":x"\n',
        ['http.credentials: expected "user:password"'],
    ),
    "credentials without a password": (
        domain() + '[http]\ncredentials = "x:"\n',
        ['http.credentials: expected "user:password"'],
    ),
    "credentials with insecure_open": (
        domain() + '[http]\ncredentials = "x:y"\ninsecure_open = true\n',
        ["http.insecure_open: contradicts credentials"],
    ),
    "both credentials and file": (
        domain() + '[http]\ncredentials = "x:y"\ncredentials_file = "secret"\n',
        ["http.credentials_file: contradicts credentials"],
    ),
    "an empty credentials file": (
        domain() + '[http]\ncredentials_file = "empty"\n',
        ["http.credentials_file: {directory}/empty: is empty"],
    ),
    "a credentials file of empty lines": (
        domain() + '[http]\ncredentials_file = "newlines"\n',
        ["http.credentials: is empty"],
    ),
    "no credentials in the list": (
        domain() + "[http]\ncredentials = []\n",
        ["http.credentials: expected `array` of length >= 1"],
    ),
    "credentials of another type": (
        domain() + "[http]\ncredentials = 5\n",
        ["http.credentials[0]: expected `str`"],
    ),
    "one of two credentials without a colon": (
        domain() + '[http]\ncredentials = ["x:y", "x"]\n',
        ['http.credentials[1]: expected "user:password"'],
    ),
    "a line of a credentials file without a colon": (
        domain() + '[http]\ncredentials_file = "two"\n',
        ['http.credentials[1]: expected "user:password"'],
    ),
    "credentials from a file and a variable": (
        domain() + '[http]\ncredentials_file = "secret"\ncredentials_env = "FULL"\n',
        ["http.credentials_env: contradicts credentials_file"],
    ),
    "a variable that is not set": (
        domain('bind_dn = "cn=x"', 'bind_password_env = "MISSING"'),
        [f"{D}.bind_password_env: the environment variable is not set"],
    ),
    "an empty variable": (
        domain('bind_dn = "cn=x"', 'bind_password_env = "EMPTY"'),
        [f"{D}.bind_password_env: the environment variable is empty"],
    ),
    "a variable for a password without bind_dn": (
        domain('bind_password_env = "FULL"'),
        [f"{D}.bind_password: is of no use without bind_dn"],
    ),
    "both password and variable": (
        domain('bind_dn = "cn=x"', 'bind_password = "x"', 'bind_password_env = "FULL"'),
        [f"{D}.bind_password_env: contradicts bind_password"],
    ),
    "a credential of systemd's without systemd": (
        domain('bind_dn = "cn=x"', 'bind_password_file = "$CREDENTIALS_DIRECTORY/password"'),
        [f"{D}.bind_password_file: {NO_SYSTEMD}"],
    ),
    "a key of systemd's without systemd": (
        domain('client_cert = "secret"', 'client_key = "$CREDENTIALS_DIRECTORY/key"'),
        [f"{D}.client_key: {NO_SYSTEMD}"],
    ),
    "a missing credentials file": (
        domain() + '[http]\ncredentials_file = "missing"\n',
        ["http.credentials_file: {directory}/missing: No such file or directory"],
    ),
}

TIMES = {
    "zero": ("0", "expected `float` {least}"),
    "negative": ("-1", "expected `float` {least}"),
    "negative zero": ("-0.0", "expected `float` {least}"),
    "not a number": ("nan", "expected `float` {least}"),
    "for ever": ("inf", "expected `float` <= 3600.0"),
    "more than an hour": ("3600.5", "expected `float` <= 3600.0"),
    "enormous": ("1" + "0" * 40, "expected `float` <= 3600.0"),
    "a text": ('"4"', "expected `float`, got `str`"),
    "a truth value": ("true", "expected `float`, got `bool`"),
    "a time of day": ("00:00:04", "expected `float`, got `time`"),
}
# An answer takes a front end some time too.
LEAST_TIMES = {
    "http.deadline": ">= 1.0",
    "generic.deadline": ">= 1.0",
    "ejabberd.deadline": ">= 1.0",
    f"{D}.deadline": "> 0.0",
    f"{D}.connect_timeout": "> 0.0",
}

TEMPLATES = {
    "a filter that does not end": (domain('filter = "(uid={user}"'), [f"{D}.filter: {NO_FILTER}"]),
    "a filter without parentheses": (domain('filter = "uid={user}"'), [f"{D}.filter: {NO_FILTER}"]),
    "a filter of nothing": (domain('filter = "()"'), [f"{D}.filter: {NO_FILTER}"]),
    "an empty list in a filter": (domain('filter = "(&)"'), [f"{D}.filter: {NO_FILTER}"]),
    "parentheses the wrong way round": (domain('filter = "(uid={user}))((x=y)"'), [f"{D}.filter: {NO_FILTER}"]),
    "two filters": (domain('filter = "(uid={user})(x=y)"'), [f"{D}.filter: {NO_FILTER}"]),
    "a filter with an unknown placeholder": (
        domain('filter = "(uid={usr})"'),
        [f"{D}.filter: unknown placeholder {{usr}}: {PLACEHOLDERS}"],
    ),
    "an inactive with an unknown placeholder": (
        domain('inactive = "(x<={time})"'),
        [f"{D}.inactive: unknown placeholder {{time}}: {PLACEHOLDERS}, {{now}} and {{filetime}}"],
    ),
    "a group that is none": (
        domain('required_groups = ["cn=x,dc=x", "chat"]'),
        [f"{D}.required_groups[1]: is not a DN"],
    ),
    "groups with nothing above them": (
        domain('required_groups = ["cn=x,dc=x", "cn=x,dc=y"]'),
        [f"{D}.group_base_dn: is missing: the required_groups have no entry above them all"],
    ),
    "a group base that is none": (
        domain('required_groups = ["cn=x,dc=x"]', 'group_base_dn = "groups"'),
        [f"{D}.group_base_dn: is not a DN"],
    ),
    "a place with a base DN that is none": (
        domain("[[domains.'example.com'.search]]", 'base_dn = "x"', 'filter = "x"', base_dn=""),
        [f"{D}.search[0].base_dn: is not a DN", f"{D}.search[0].filter: {NO_FILTER}"],
    ),
    "a filter for anybody": (domain('filter = "(objectClass=person)"'), [f"{D}.filter: {NO_USER}"]),
    "a filter for everybody else": (domain('filter = "(!(uid={user}))"'), [f"{D}.filter: {NO_USER}"]),
    "a filter for similar names": (domain('filter = "(uid=*{user}*)"'), [f"{D}.filter: {NO_USER}"]),
    "a base DN that is none": (domain(base_dn='"example.com"'), [f"{D}.base_dn: is not a DN"]),
    "a base DN with an unknown placeholder": (
        domain(base_dn='"dc={realm}"'),
        [f"{D}.base_dn: unknown placeholder {{realm}}: {PLACEHOLDERS}"],
    ),
    "a user_dn that is none": (domain('user_dn = "{user}"'), [f"{D}.user_dn: is not a DN"]),
    "a principal name without a user": (
        domain('user_dn = "juliet@example.com"'),
        [f"{D}.user_dn: has no {{user}} in it"],
    ),
    "a principal name with an unknown placeholder": (
        domain('user_dn = "{user}@{realm}"'),
        [f"{D}.user_dn: unknown placeholder {{realm}}: {PLACEHOLDERS}"],
    ),
    "a user_dn without a user": (domain('user_dn = "uid=x,dc=x"'), [f"{D}.user_dn: has no {{user}} in it"]),
    "a user_dn with the domain alone": (
        domain('user_dn = "ou={domain},dc=x"'),
        [f"{D}.user_dn: has no {{user}} in it"],
    ),
    "a new DN that is none": (domain('register.dn = "{user}"'), [f"{D}.register.dn: is not a DN"]),
    "a new DN without a user": (domain('register.dn = "uid=x"'), [f"{D}.register.dn: has no {{user}} in it"]),
    "an attribute with an unknown placeholder": (
        domain('register.attributes.mail = "{name}@x"'),
        [f"{D}.register.attributes.mail: unknown placeholder {{name}}: {PLACEHOLDERS}"],
    ),
    "a CA file with garbage": (
        domain('ca_file = "secret"'),
        [f"{D}.ca_file: {{directory}}/secret: holds no usable certificate in PEM form"],
    ),
    "an empty CA file": (
        domain('ca_file = "empty"'),
        [f"{D}.ca_file: {{directory}}/empty: holds no usable certificate in PEM form"],
    ),
    "a certificate with garbage": (
        domain('client_cert = "secret"'),
        [f"{D}.client_cert: {{directory}}/secret: holds no usable certificate, or client_key no key to it"],
    ),
    "mistakes in the templates of two domains": (
        domain('filter = "x"') + '[domains."*"]\nservers = ["ldaps://x"]\nbase_dn = "dc=x"\nregister.dn = "x"\n',
        [f"{D}.filter: {NO_FILTER}", 'domains."*".register.dn: is not a DN'],
    ),
}


@pytest.fixture(autouse=True, scope="module")
def environment() -> Iterator[None]:
    """The environment variables that some configurations name; systemd has started nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FULL", MARKER)
        patch.setenv("EMPTY", "")
        patch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        yield


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the configuration is, beside the files that some name."""
    contents = {"secret": MARKER.encode(), "empty": b"", "newline": b"\r\n", "newlines": b"\n\n", "binary": b"\xff"}
    for name, content in {**contents, "two": b"x:y\nx\n"}.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "lines"),
    [*SHAPES.values(), *RELATIONS.values(), *TEMPLATES.values()],
    ids=[*SHAPES, *RELATIONS, *TEMPLATES],
)
def test_each_mistake_is_one_line(directory: Path, text: str, lines: list[str]) -> None:
    """Each mistake is one line that begins with the key's path and says what is wrong with it."""
    assert mistakes(directory, text) == [line.replace("{directory}", str(directory)) for line in lines]


@pytest.mark.parametrize(("url", "problem"), SERVERS.values(), ids=SERVERS)
def test_each_wrong_server_is_one_line(directory: Path, url: str, problem: str) -> None:
    """A server's URL that is wrong, or would take passwords in clear over the network, is named by its place."""
    assert mistakes(directory, domain(servers=f'["{url}"]')) == [f"{D}.servers[0]: {problem}"]


def with_time(key: str, value: str) -> str:
    """A configuration in which a time has this value."""
    table, _, name = key.rpartition(".")
    return domain(f"{name} = {value}") if table == D else f"{key} = {value}\n{domain()}"


@pytest.mark.parametrize(("value", "problem"), TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("key", LEAST_TIMES)
def test_each_wrong_time_is_one_line(directory: Path, key: str, value: str, problem: str) -> None:
    """A time that is no number of seconds, too short or longer than an hour is refused, wherever it stands."""
    assert mistakes(directory, with_time(key, value)) == [f"{key}: {problem.format(least=LEAST_TIMES[key])}"]


@pytest.mark.parametrize("value", ["1", "1.0", "4", "3600"])
@pytest.mark.parametrize("key", LEAST_TIMES)
def test_times_may_be_whole(directory: Path, key: str, value: str) -> None:
    """A time from a second to an hour is taken, whole or not."""
    load(directory, with_time(key, value))


@pytest.mark.parametrize(("key", "least"), LEAST_TIMES.items(), ids=LEAST_TIMES)
def test_a_part_of_a_second_is_too_short_for_an_answer(directory: Path, key: str, least: str) -> None:
    """Half a second is enough for a directory, and not for a front end."""
    if least == "> 0.0":
        load(directory, with_time(key, "0.5"))
    else:
        assert mistakes(directory, with_time(key, "0.5")) == [f"{key}: expected `float` {least}"]


@pytest.mark.parametrize(
    "key", ["a\\nb", "a\\u0085b", "\\u001b[31m"], ids=["line break", "C1 line break", "terminal escape"]
)
def test_a_mistake_with_a_strange_name_is_one_line(directory: Path, key: str) -> None:
    """A key or domain with a line break or a terminal's command in its name makes a plain line all the same."""
    for text in (domain(f'"{key}" = 5'), domain() + f'[domains."{key}"]\nport = 5\n', f'"{key}" = 5\n' + domain()):
        (line,) = mistakes(directory, text)
        assert line.isprintable()


# The file itself


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """As a user that file permissions hold for."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def refusal(path: str | Path) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        config.load(str(path))
    (line,) = caught.value.problems
    return line


def test_a_missing_file(tmp_path: Path) -> None:
    """A configuration that is not there is said to be missing, with its path."""
    assert refusal(tmp_path / "x.toml") == f"{tmp_path}/x.toml: No such file or directory"


def test_a_directory(tmp_path: Path) -> None:
    """A directory is no configuration."""
    assert refusal(tmp_path) == f"{tmp_path}: Is a directory"


def test_an_unreadable_file(tmp_path: Path) -> None:
    """A configuration that may not be read is said to be so."""
    path = write(tmp_path, domain(), mode=0)
    with unprivileged():
        assert refusal(path) == f"{path}: Permission denied"


def test_a_name_that_no_file_can_have() -> None:
    """A path with a NUL in it is refused as any other that can't be read."""
    assert refusal("/etc/ldap\0auth.toml").startswith("/etc/ldap")


@pytest.mark.parametrize("key", ["bind_password_file", "ca_file", "client_cert"])
def test_a_key_with_a_name_that_no_file_can_have(directory: Path, key: str) -> None:
    """A key that names a file that can't be is refused as one whose file is missing."""
    assert any(line.startswith(f"{D}.{key}: ") for line in mistakes(directory, domain(f'{key} = "a\\u0000b"')))


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", domain().encode("utf-16"), domain('bind_dn = "cn=J\xfclia"').encode("latin-1")],
    ids=["garbage", "UTF-16", "Latin-1"],
)
def test_not_utf_8(tmp_path: Path, content: bytes) -> None:
    """A configuration that is not UTF-8 is said to be so."""
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    assert refusal(file) == f"{file}: is not UTF-8 text"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[http",
        "a = 1\na = 2",
        'a = "x',
        "a = 01",
        "[a]\n[a]",
        "a = {\n}",
        "{}",
        "\0",
        "\ufeffa = 1",
        "a = " + "9" * 5000,
        "a = " + "[" * 100_000,
    ],
    ids=[
        "no value",
        "half a table",
        "a key twice",
        "half a text",
        "leading zero",
        "a table twice",
        "line break in an inline table",
        "JSON",
        "NUL",
        "byte order mark",
        "a number of thousands of digits",
        "lists in lists in lists",
    ],
)
def test_not_toml(tmp_path: Path, text: str) -> None:
    """A configuration that is not TOML, or that its reader can't cope with, is said to be so in one line."""
    path = write(tmp_path, text)
    line = refusal(path)
    assert line.startswith(f"{path}: is not TOML: ")
    assert line.isprintable()


def test_the_path_given_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is given is used whatever the environment says."""
    monkeypatch.setenv(config.PATH_VARIABLE, "/environment.toml")
    assert config.locate(str(tmp_path / "x.toml")) == tmp_path / "x.toml"


def test_the_environment_comes_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path the one in LDAPAUTH_CONFIG is read."""
    monkeypatch.setenv("LDAPAUTH_CONFIG", write(tmp_path, domain()))
    assert list(config.load().domains) == ["example.com"]


@pytest.mark.parametrize("value", [None, ""], ids=["not set", "empty"])
def test_the_default_comes_last(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """Without either it is /etc/ldapauth.toml."""
    monkeypatch.delenv("LDAPAUTH_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("LDAPAUTH_CONFIG", value)
    assert config.locate() == Path("/etc/ldapauth.toml")


def test_file_names_are_relative_to_the_configuration(
    directory: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of files in a configuration are relative to it and not to where the program runs."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    text = domain('bind_dn = "cn=x"', 'bind_password_file = "secret"', 'ca_file = "empty"')
    settings = config.load(write(directory, text)).domains["example.com"]
    assert settings.bind_password == Secret(MARKER)
    assert settings.ca_file == str(directory / "empty")


def test_absolute_file_names_stay(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An absolute name of a file is that file."""
    text = domain('bind_dn = "cn=x"', f'bind_password_file = "{directory}/secret"')
    settings = config.load(write(tmp_path_factory.mktemp("elsewhere"), text)).domains["example.com"]
    assert settings.bind_password == Secret(MARKER)


# What is right


LOOPBACK = [
    "ldap://localhost",
    "ldap://LOCALHOST:3389",
    "ldap://127.0.0.1",
    "ldap://127.0.0.2:389/",
    "ldap://127.255.255.255",
    "ldap://[::1]",
    "ldap://[::1]:3389",
    "ldap://[0:0:0:0:0:0:0:1]",
    "ldapi://%2Frun%2Fldapi",
    "ldapi://%2frun%2fldapi/",
]


@pytest.mark.parametrize("url", LOOPBACK)
def test_nothing_leaves_the_machine_over_loopback(directory: Path, url: str) -> None:
    """A server on this machine may be spoken to in clear without a word."""
    assert load(directory, domain(servers=f'["{url}"]')).domains["example.com"].addresses()[0].is_loopback


@pytest.mark.parametrize("key", ["start_tls", "insecure_plaintext"])
def test_clear_text_has_to_be_asked_for(directory: Path, key: str) -> None:
    """A server elsewhere may be spoken to by ldap:// with StartTLS, or where the configuration says so."""
    load(directory, domain(f"{key} = true", servers='["ldap://ldap.example.com"]'))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("ldap://ldap.example.com", Server("ldap", "ldap.example.com", 389)),
        ("ldaps://ldap.example.com", Server("ldaps", "ldap.example.com", 636)),
        ("LDAPS://LDAP.Example.COM:1636/", Server("ldaps", "ldap.example.com", 1636)),
        ("ldaps://192.0.2.1", Server("ldaps", "192.0.2.1", 636)),
        ("ldaps://[2001:db8::1]", Server("ldaps", "2001:db8::1", 636)),
        ("ldaps://[2001:db8::1]:65535", Server("ldaps", "2001:db8::1", 65535)),
        ("ldapi://%2Frun%2Fslapd%20x%2Fldapi", Server("ldapi", "/run/slapd x/ldapi", 0)),
    ],
)
def test_urls(url: str, server: Server) -> None:
    """A URL names a scheme, a host and a port, and is written so that it names the same again."""
    assert Server.parse(url) == server
    assert Server.parse(str(server)) == server


@pytest.mark.parametrize("host", ["a b", " ldap", "ldap\\tx", "ldap\\nx", "ldap\\u0000x"])
def test_hosts_with_spaces_are_refused(directory: Path, host: str) -> None:
    """A host's name with a space or a control character in it is a mistake, and no other host."""
    (line,) = mistakes(directory, domain(servers=f'["ldaps://{host}"]'))
    assert line.startswith(f"{D}.servers[0]: ")


def test_the_defaults(directory: Path) -> None:
    """What a configuration leaves out is the documented default."""
    loaded = load(directory, domain())
    settings = loaded.domains["example.com"]
    assert settings == Domain(servers=("ldaps://ldap.example.com",), base_dn="dc=example,dc=com")
    assert settings.operations == ("check_password", "user_exists")
    assert (settings.directory, settings.filter, settings.password_change) == ("auto", None, "auto")
    assert (settings.scope, settings.inactive, settings.must_change) == ("sub", None, "refuse")
    assert (settings.deadline, settings.connect_timeout) == (4.0, 2.0)
    assert [settings.start_tls, settings.insecure_plaintext, settings.insecure_skip_verify] == [False] * 3
    assert {loaded.http.deadline, loaded.generic.deadline, loaded.ejabberd.deadline} == {4.0}
    assert loaded.http.credentials is None
    assert not loaded.http.insecure_open
    assert (loaded.log.level, loaded.log.target) == ("info", "stderr")
    assert loaded.warnings == ()


def test_the_base_may_be_the_root(directory: Path) -> None:
    """An empty base DN is the root of the directory, as a global catalog is searched."""
    assert load(directory, domain(base_dn='""')).domains["example.com"].base_dn == ""


def test_domains_are_known_in_lower_case(directory: Path) -> None:
    """A domain is known by its name in lower case, and `*` by that."""
    text = domain().replace("example.com", "Example.COM") + '[domains."*"]\nservers = ["ldaps://x"]\nbase_dn = "dc=x"\n'
    assert sorted(load(directory, text).domains) == ["*", "example.com"]


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"x", "x"),
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b" x \n", " x "),
        (b"x\n\n", "x\n"),
        ("пароль".encode(), "пароль"),
        (b"a:b\\n\n", "a:b\\n"),
    ],
    ids=["plain", "line break", "carriage return", "spaces", "two line breaks", "Unicode", "no escapes"],
)
def test_secrets_from_files(directory: Path, content: bytes, secret: str) -> None:
    """A secret from a file is its text as it is, without the one line break that editors add."""
    (directory / "password").write_bytes(content)
    loaded = load(directory, domain('bind_dn = "cn=x"', 'bind_password_file = "password"'))
    assert loaded.domains["example.com"].bind_password == Secret(secret)


def test_secrets_from_the_environment(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret from an environment variable is its value as it is."""
    monkeypatch.setenv("BIND_PASSWORD", f" {MARKER} ")
    monkeypatch.setenv("HTTP_CREDENTIALS", f"prosody:{MARKER}")
    text = domain('bind_dn = "cn=x"', 'bind_password_env = "BIND_PASSWORD"')
    loaded = load(directory, text + '[http]\ncredentials_env = "HTTP_CREDENTIALS"\n')
    assert loaded.domains["example.com"].bind_password == Secret(f" {MARKER} ")
    assert loaded.http.credentials == (Secret(f"prosody:{MARKER}"),)
    assert MARKER not in tomli_w.dumps(config.masked(loaded))


def test_secrets_from_systemd(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file below $CREDENTIALS_DIRECTORY is looked for there, and any other one where it was before."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "password").write_text("systemd's\n")
    (directory / "password").write_text("ours\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    found = []
    for name in ("$CREDENTIALS_DIRECTORY/password", "password"):
        loaded = load(directory, domain('bind_dn = "cn=x"', f'bind_password_file = "{name}"'))
        found.append(loaded.domains["example.com"].bind_password)
    assert found == [Secret("systemd's"), Secret("ours")]


@pytest.mark.parametrize(
    ("written", "accepted"),
    [
        ('credentials = "a:b"', ["a:b"]),
        ('credentials = ["a:b"]', ["a:b"]),
        ('credentials = ["a:new", "a:old"]', ["a:new", "a:old"]),
        ('credentials_file = "lines"', ["a:new", "a:old one "]),
        ('credentials_env = "LINES_OF_CREDENTIALS"', ["a:new", "a:old"]),
    ],
)
def test_several_credentials(
    directory: Path, monkeypatch: pytest.MonkeyPatch, written: str, accepted: list[str]
) -> None:
    """Credentials may be several, so that they can be changed: in an array, or one a line of a file or variable."""
    monkeypatch.setenv("LINES_OF_CREDENTIALS", "a:new\na:old")
    (directory / "lines").write_text("a:new\r\n\na:old one \n")
    loaded = load(directory, domain() + f"[http]\n{written}\n")
    assert [secret.reveal() for secret in loaded.http.credentials or ()] == accepted


def test_a_helper_needs_no_credentials(directory: Path) -> None:
    """Where the HTTP credentials are not wanted, it does not matter whether they are there."""
    for written in ('credentials_file = "missing"', 'credentials_env = "MISSING"'):
        assert config.load(write(directory, domain() + f"[http]\n{written}\n"), http=False).http.credentials is None


@pytest.mark.parametrize("struct", ["http", "generic", "ejabberd", "log", "domains"])
def test_settings_do_not_change(directory: Path, struct: str) -> None:
    """No setting can be changed once it was read."""
    loaded = load(directory, domain())
    with pytest.raises(AttributeError):
        setattr(loaded, struct, None)
    with pytest.raises(AttributeError):
        loaded.domains["example.com"].filter = "(uid=*)"  # type: ignore[misc] # that is the point


# Warnings

WITH_PASSWORD = domain('bind_dn = "cn=x"', f'bind_password = "{MARKER}"')
WITH_CREDENTIALS = domain() + f'[http]\ncredentials = "prosody:{MARKER}"\n'
WITH_FILE = domain('bind_dn = "cn=x"', 'bind_password_file = "secret"')


def warnings(directory: Path, text: str, mode: int) -> tuple[str, ...]:
    """What is said about a configuration whose file has this mode."""
    return config.load(write(directory, text, mode)).warnings


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o777], ids=oct)
@pytest.mark.parametrize("text", [WITH_PASSWORD, WITH_CREDENTIALS], ids=["password", "credentials"])
def test_a_secret_that_everybody_may_read_is_worth_a_warning(directory: Path, text: str, mode: int) -> None:
    """A configuration with a secret in it that every user of the machine may read is used, with a warning."""
    (warning,) = warnings(directory, text, mode)
    assert warning == f"{directory}/ldapauth.toml: holds a secret and may be read by every user: chmod o-rwx"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660, 0o602], ids=oct)
@pytest.mark.parametrize("text", [WITH_PASSWORD, WITH_CREDENTIALS], ids=["password", "credentials"])
def test_a_secret_may_be_read_by_the_group(directory: Path, text: str, mode: int) -> None:
    """A configuration with a secret in it that its owner and group alone may read is nothing to warn of."""
    assert warnings(directory, text, mode) == ()


def test_a_configuration_without_secrets_may_be_read_by_everybody(directory: Path) -> None:
    """A configuration whose secrets are in files of their own may be read by everybody."""
    assert warnings(directory, WITH_FILE, 0o644) == ()


@pytest.mark.parametrize("key", ["bind_password_file", "credentials_file"])
def test_a_secret_file_that_everybody_may_read_is_worth_a_warning(directory: Path, key: str) -> None:
    """A file with a secret that every user of the machine may read is used, with a warning that names it."""
    (directory / "secret").write_text(f"user:{MARKER}")
    text = WITH_FILE if key == "bind_password_file" else domain() + '[http]\ncredentials_file = "secret"\n'
    assert warnings(directory, text, 0o600) == ()
    (directory / "secret").chmod(0o604)
    (warning,) = warnings(directory, text, 0o600)
    assert warning.startswith(f"{directory}/secret: ")


# Secrets

ALL_SECRETS = (
    domain('bind_dn = "cn=x"', f'bind_password = "{MARKER}"')
    + '[domains."*"]\nservers = ["ldaps://x"]\nbase_dn = "dc=x"\nbind_dn = "cn=y"\nbind_password_file = "secret"\n'
    + f'[http]\ncredentials = "prosody:{MARKER}"\n'
)


def test_secrets_show_nowhere(directory: Path) -> None:
    """No way of writing the settings down shows a secret, though each can be had from them."""
    loaded = load(directory, ALL_SECRETS)
    secrets = [*(settings.bind_password for settings in loaded.domains.values()), *(loaded.http.credentials or ())]
    assert [secret.reveal() for secret in secrets if secret] == [MARKER, MARKER, f"prosody:{MARKER}"]
    shown = [form(thing) for form in (repr, str, "{}".format, ascii) for thing in (loaded, *secrets, loaded.domains)]
    assert MARKER not in "".join([*shown, str(vars(Provider(loaded))), tomli_w.dumps(config.masked(loaded))])


KINDS_OF_DIRECTORY = ["active-directory", "389ds", "freeipa", "openldap"]


@pytest.mark.parametrize("kind", KINDS_OF_DIRECTORY)
def test_the_kind_of_directory_fills_in_what_is_left_out(directory: Path, kind: str) -> None:
    """With a kind that is named, nothing is left to be asked of a server, and what is in effect can be shown."""
    loaded = load(directory, domain(f'directory = "{kind}"')).domains["example.com"]
    assert config.left_to_directory(loaded) == []
    assert "{user}" in str(loaded.filter)
    assert loaded.inactive
    assert loaded.password_change != "auto"


@pytest.mark.parametrize("kind", KINDS_OF_DIRECTORY)
def test_what_is_given_stands_against_the_kind(directory: Path, kind: str) -> None:
    """Each default of a kind of directory gives way to the configuration, an empty filter of the inactive included."""
    text = domain(f'directory = "{kind}"', 'filter = "(cn={user})"', 'inactive = ""', 'password_change = "modify"')
    loaded = load(directory, text).domains["example.com"]
    assert (loaded.filter, loaded.inactive, loaded.password_change) == ("(cn={user})", "", "modify")


def test_the_kind_gives_no_filter_beside_a_dn(directory: Path) -> None:
    """With a DN template there is no search, and so no filter, in whatever kind of directory."""
    text = domain('directory = "openldap"', 'user_dn = "uid={user},dc=x"')
    assert load(directory, text).domains["example.com"].filter is None


def test_masked_settings_are_toml(directory: Path) -> None:
    """The effective settings are written as TOML, defaults included, with stars for the secrets."""
    tree = tomllib.loads(tomli_w.dumps(config.masked(load(directory, ALL_SECRETS))))
    assert tree["http"]["credentials"] == ["***"]
    assert {table["bind_password"] for table in tree["domains"].values()} == {"***"}
    assert tree["domains"]["example.com"]["scope"] == "sub"
    assert tree["log"] == {"level": "info", "target": "stderr", "format": "logfmt", "users": "plain"}
    assert set(tree) == {"http", "generic", "ejabberd", "log", "metrics", "domains"}


def test_masked_settings_can_be_loaded(directory: Path) -> None:
    """The effective settings of a configuration without secrets are a configuration with the same effect."""
    loaded = load(directory, domain("start_tls = true", servers='["ldap://ldap.example.com", "ldapi://%2Fx"]'))
    assert load(directory, tomli_w.dumps(config.masked(loaded))) == loaded


def test_secrets_are_compared_by_their_text() -> None:
    """Two secrets are equal if their texts are, and no secret equals a plain text."""
    assert Secret("x") == Secret("x")
    assert Secret("x") != Secret("y")
    assert Secret("x") != "x"
    with pytest.raises(TypeError):
        hash(Secret("x"))


MISTYPED = {
    "a list": domain(f'bind_password = ["{MARKER}"]'),
    "a table": domain(f'bind_password = {{ value = "{MARKER}" }}'),
    "in place of a variable's name": domain('bind_dn = "x"', f'bind_password_env = "{MARKER}"'),
    "in place of a variable's name in http": domain() + f'[http]\ncredentials_env = "{MARKER}"\n',
    "among credentials": domain() + f'[http]\ncredentials = ["x:y", "{MARKER}"]\n',
    "among credentials of other types": domain() + f'[http]\ncredentials = ["x:{MARKER}", 5]\n',
    "a list of credentials": domain() + f'[http]\ncredentials = ["{MARKER}"]\n',
    "no user before the colon": domain() + f'[http]\ncredentials = ":{MARKER}"\n',
    "no colon": domain() + f'[http]\ncredentials = "{MARKER}"\n',
    "contradictory credentials": domain() + f'[http]\ncredentials = "x:{MARKER}"\ninsecure_open = true\n',
    "a misspelt key": domain(f'bindpassword = "{MARKER}"'),
    "a misplaced key": f'bind_password = "{MARKER}"\n' + domain(),
    "a misplaced key in http": domain() + f'[http]\nbind_password = "{MARKER}"\n',
    "a password without bind_dn": domain(f'bind_password = "{MARKER}"'),
    "a password and a file": domain('bind_dn = "x"', f'bind_password = "{MARKER}"', 'bind_password_file = "secret"'),
    "for a time": domain(f'deadline = "{MARKER}"'),
    "for a truth value": domain(f'start_tls = "{MARKER}"'),
    "for a scope": domain(f'scope = "{MARKER}"'),
    "for an operation": domain(f'operations = ["{MARKER}"]'),
    "for a level": domain() + f'[log]\nlevel = "{MARKER}"\n',
    "a key for names that is short": domain() + f'[log]\nusers = "hash"\nusers_key = "{MARKER[:9]}"\n',
    "for a way to show names": domain() + f'[log]\nusers = "{MARKER}"\n',
    "for a target": domain() + f'[log]\ntarget = "{MARKER}"\n',
    "for a filter": domain(f'filter = "{MARKER}"'),
    "for a base DN": domain(base_dn=f'"{MARKER}"'),
    "for a user_dn": domain(f'user_dn = "{MARKER}"'),
    "for a list of servers": domain(servers=f'"{MARKER}"'),
    "for a server": domain(servers=f'["{MARKER}"]'),
    "in a server": domain(servers=f'["ldaps://xmpp:{MARKER}@ldap.example.com"]'),
    "in a server with a path": domain(servers=f'["ldaps://xmpp:{MARKER}@ldap.example.com/dc=x"]'),
    "in a server with a strange character": domain(servers=f'["ldaps://xmpp:{MARKER}\\u2100@ldap.example.com"]'),
    "in a server with brackets": domain(servers=f'["ldaps://[{MARKER}]"]'),
    "in a server with half a bracket": domain(servers=f'["ldaps://[{MARKER}"]'),
    "as a port": domain(servers=f'["ldaps://ldap.example.com:{MARKER}"]'),
    "for a register": domain(f'register = "{MARKER}"'),
    "for an object class": domain(f'register.object_classes = "{MARKER}"'),
    "behind what looks like a place": domain(f'scope = "x - at `${MARKER}"'),
    "behind what looks like a key": domain(f'scope = "x - at `$.{MARKER}"'),
    "behind what looks like an end": domain(f'scope = "x` - at `$.scope` {MARKER}"'),
    "in the file of a certificate": domain('client_cert = "secret"'),
    "in the file of authorities": domain('ca_file = "secret"'),
    "in the file of credentials": domain() + '[http]\ncredentials_file = "secret"\n',
    "a text that does not end": f'[http]\ncredentials = "{MARKER}',
    "a text without quotes": f"[http]\ncredentials = {MARKER}\n",
    "a text of two lines": f'[http]\ncredentials = "{MARKER}\n{MARKER}"\n',
    "an unknown escape": f'[http]\ncredentials = "\\q{MARKER}"\n',
    "given twice": f'[http]\ncredentials = "{MARKER}"\ncredentials = "{MARKER}"\n',
    "a table below it": f'[http]\ncredentials = "{MARKER}"\n[http.credentials.x]\n',
}


@pytest.mark.parametrize("text", MISTYPED.values(), ids=MISTYPED)
def test_a_misplaced_secret_shows_nowhere(directory: Path, text: str) -> None:
    """No refusal of a configuration shows a value of it, not even where a secret was given by mistake."""
    with pytest.raises(ConfigurationError) as caught:
        load(directory, text)
    shown = [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
    assert MARKER not in "".join(shown)
    assert all(line.isprintable() for line in caught.value.problems)


# Anything


texts = st.text(max_size=20) | st.sampled_from(
    [
        "",
        ".",
        "/",
        "a\0b",
        "sub",
        "ldaps://x",
        "ldap://[::1]",
        "{user}",
        "(uid={user})",
        "uid={user},dc=x",
        "x:y",
        "debug",
    ]
)
scalars = st.one_of(
    texts,
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.times(),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=6,
)


def fitting(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    """Values of the type that a setting has, as its default tells it."""
    kinds: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        float: st.floats(0.1, 3600),
        tuple: st.lists(texts, max_size=3),
    }
    return kinds.get(type(field.default), texts)


def tables(kind: type[msgspec.Struct], good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables with some of the settings that there are, mostly of the right type; what is not among them is good."""
    settings_of = [(field.name, fitting(field)) for field in msgspec.structs.fields(kind)]
    known = st.sampled_from(settings_of).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1] | pair[1] | trees))
    return st.lists(known, max_size=3).map(lambda changes: {**good, **dict(changes)})


GOOD = {"servers": ["ldaps://x"], "base_dn": "dc=x"}
domains = st.dictionaries(
    st.sampled_from(["example.com", "*"]) | st.text(max_size=10), tables(Domain, GOOD), min_size=1, max_size=2
)
sections: dict[str, type[msgspec.Struct]] = {
    "http": config.Http,
    "generic": config.Generic,
    "ejabberd": config.Ejabberd,
    "log": config.Log,
    "metrics": config.Metrics,
}
configurations: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"domains": domains}),
    st.fixed_dictionaries(
        {"domains": st.just({"example.com": GOOD})},
        optional={name: tables(kind, {}) for name, kind in sections.items()},
    ),
    st.fixed_dictionaries({}, optional=dict.fromkeys(["x", "domains", *sections], trees)),
    st.dictionaries(st.text(max_size=10), trees, max_size=3),
)


@settings(UNTIMED, max_examples=200)
@given(configurations)
def test_any_tree_gives_settings_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    """Any TOML gives settings from which the directories can be built, or ConfigurationError with lines to print."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(tomli_w.dumps(tree), encoding="utf-8")
    path.chmod(0o600)
    try:
        loaded = config.load(str(path))
        Provider(loaded)
    except ConfigurationError as error:
        assert error.problems  # noqa: PT017 - either outcome is right
        assert all(error.problems)  # noqa: PT017
    else:
        tomli_w.dumps(config.masked(loaded))
