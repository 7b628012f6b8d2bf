"""The configuration: one TOML file, read once, checked as a whole, frozen.

Owns what the settings are called, their types and defaults, and every check that needs no directory and no library of
the directory's. What a filter or a DN template means is checked where it is used (`directory/query.py`), with the same
`ConfigurationError`. Imports nothing of ours but the errors, and the kinds of directory with their defaults.
"""

import difflib
import importlib.util
import ipaddress
import os
import re
import stat
import tomllib
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from .errors import ConfigurationError
from .kinds import KINDS, Membership, Named, Way

DEFAULT_PATH = "/etc/ldapauth.toml"
PATH_VARIABLE = "LDAPAUTH_CONFIG"

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what a unit's `LoadCredential=` names. Source: systemd.exec(5)."""

Operation = Literal["check_password", "user_exists", "set_password", "register", "remove_user", "get_certs"]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
AnswerSeconds = Annotated[float, msgspec.Meta(ge=1, le=3600)]
Scope = Literal["sub", "one", "base"]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]

SHORTEST_KEY = 16
"""Characters of the key by which names of users are hashed: fewer can be tried out."""

_PORTS = {"ldap": 389, "ldaps": 636}


class Secret:
    """A text that shows in no `repr`, no exception and no dump; `reveal` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    __hash__ = None  # type: ignore[assignment] # a secret is no key


class Server(msgspec.Struct, frozen=True):
    """Where one LDAP server listens. Source: RFC 4516 for `ldap`; `ldaps` and `ldapi` as OpenLDAP's tools take them.

    Attributes:
        scheme: `ldap`, `ldaps` or `ldapi`.
        host: A name or an address without brackets; for `ldapi` the path of the socket.
        port: The TCP port; 0 for `ldapi`.
    """

    scheme: Literal["ldap", "ldaps", "ldapi"]
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Server":
        """The server that a URL names.

        Raises:
            ValueError: It is not a URL of the three schemes, or says more than where the server is.
        """
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in ("ldap", "ldaps", "ldapi"):
            raise ValueError("expected a URL that begins with ldap://, ldaps:// or ldapi://")
        if scheme == "ldapi":
            path = urllib.parse.unquote(rest.rstrip("/"))
            if not path.startswith("/"):
                raise ValueError("expected ldapi:// and the socket's path with each / written as %2F")
            return cls("ldapi", path, 0)
        return cls(scheme, *_host_and_port(rest, _PORTS[scheme]))  # type: ignore[arg-type] # one of the three, by now

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there never leaves this machine."""
        if self.scheme == "ldapi" or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.scheme == "ldapi":
            return f"ldapi://{urllib.parse.quote(self.host, safe='')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _host_and_port(rest: str, default_port: int) -> tuple[str, int]:
    """The host and port of a URL's `host:port/`. No message quotes it: there may be a password in it by mistake."""
    if not rest.isprintable() or " " in rest:
        raise ValueError("expected no spaces and control characters")
    if "@" in rest:
        raise ValueError("expected no user name in the URL: the service account has its own settings")
    try:
        parts = urllib.parse.urlsplit(f"//{rest}")
    except ValueError:
        raise ValueError("expected a host") from None
    if parts.path not in ("", "/") or parts.query or parts.fragment or "?" in rest:
        raise ValueError("expected nothing behind the host and port: the base DN has its own setting")
    if not parts.hostname:
        raise ValueError("expected a host")
    try:
        port = default_port if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise ValueError("expected a port from 1 to 65535")
    return parts.hostname, port


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of several places where users are: `[[domains."…".search]]`. The keys are as in `Domain`."""

    base_dn: str
    scope: Scope = "sub"
    filter: NonEmpty | None = None


class Register(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a new account looks like: `[domains."…".register]`.

    Attributes:
        dn: DN template of a new account; without one, `user_dn`, or the kind's naming attribute and the base DN.
        object_classes: Its object classes; without any, those of the kind.
        attributes: Its attributes as templates, likewise; the password is added by `password_change`.
    """

    dn: NonEmpty | None = None
    object_classes: tuple[NonEmpty, ...] | None = None
    attributes: dict[str, NonEmpty] | None = None


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One virtual host's directory: `[domains."…"]`; docs/configuration.md has every key's meaning."""

    servers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | str
    directory: Literal["auto"] | Named = "auto"
    bind: Literal["simple", "external", "gssapi"] = "simple"
    bind_dn: NonEmpty | None = None
    bind_password: Secret | None = None
    bind_password_file: NonEmpty | None = None
    bind_password_env: NonEmpty | None = None
    keytab: NonEmpty | None = None
    base_dn: str | None = None
    scope: Scope = "sub"
    filter: NonEmpty | None = None
    user_dn: NonEmpty | None = None
    required_groups: tuple[NonEmpty, ...] = ()
    group_membership: Literal["auto"] | Membership = "auto"
    group_base_dn: NonEmpty | None = None
    operations: tuple[Operation, ...] = ("check_password", "user_exists")
    inactive: str | None = None
    must_change: Literal["refuse", "accept"] = "refuse"
    password_change: Literal["auto"] | Way = "auto"  # noqa: S105 - the name of a way, not a password
    remove: Literal["delete", "disable"] = "delete"
    search: tuple[Search, ...] = ()
    register: Register = Register()
    start_tls: bool = False
    ca_file: NonEmpty | None = None
    client_cert: NonEmpty | None = None
    client_key: NonEmpty | None = None
    insecure_plaintext: bool = False
    insecure_skip_verify: bool = False
    connect_timeout: Seconds = 2.0
    deadline: Seconds = 4.0
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    idle_timeout: Seconds = 60.0
    dn_cache_ttl: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0

    def addresses(self) -> list[Server]:
        """The servers, in the order of preference, where the configuration lists them."""
        return [Server.parse(url) for url in self.servers]

    @property
    def binds_by_name(self) -> bool:
        """Whether `user_dn` is no DN but the other name that Active Directory binds by: `{user}@corp.example.com`."""
        return self.user_dn is not None and "@" in self.user_dn and "=" not in self.user_dn

    @property
    def is_searched(self) -> bool:
        """Whether a user's entry has to be searched: its DN can't be told from the name."""
        return self.user_dn is None or self.binds_by_name

    def searches(self) -> tuple[Search, ...]:
        """Where users are, if they are searched."""
        return self.search or (Search(base_dn=self.base_dn or "", scope=self.scope, filter=self.filter),)


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP front end: `[http]`. Any of the credentials will do: they are changed on one side at a time."""

    credentials: Annotated[tuple[Secret, ...], msgspec.Meta(min_length=1)] | None = None
    credentials_file: NonEmpty | None = None
    credentials_env: NonEmpty | None = None
    insecure_open: bool = False
    deadline: AnswerSeconds = 4.0


class Generic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The program for the generic line protocol: `[generic]`. Prosody waits 5 seconds for an answer."""

    deadline: AnswerSeconds = 4.0


class Ejabberd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The program for ejabberd's protocol: `[ejabberd]`. Current ejabberd waits 30 seconds for an answer."""

    deadline: AnswerSeconds = 4.0


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the log goes: `[log]`. The target is `stderr`, `syslog`, `none`, or a file's absolute path."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    target: NonEmpty = "stderr"
    format: Literal["logfmt", "json"] = "logfmt"
    users: Literal["plain", "hash"] = "plain"
    users_key: Secret | None = None
    users_key_file: NonEmpty | None = None
    users_key_env: NonEmpty | None = None


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What Prometheus is shown: `[metrics]`. The credentials are for `/metrics`, and good for nothing else."""

    credentials: Annotated[tuple[Secret, ...], msgspec.Meta(min_length=1)] | None = None
    credentials_file: NonEmpty | None = None
    credentials_env: NonEmpty | None = None
    textfile: NonEmpty | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, checked.

    Attributes:
        warnings: What is allowed and yet worth a line in the log; not a setting.
    """

    http: Http = Http()
    generic: Generic = Generic()
    ejabberd: Ejabberd = Ejabberd()
    log: Log = Log()
    metrics: Metrics = Metrics()
    domains: dict[str, Domain]
    warnings: tuple[str, ...] = ()


def locate(path: str | None = None) -> Path:
    """The configuration file: the path given, else `$LDAPAUTH_CONFIG`, else `/etc/ldapauth.toml`."""
    return Path(path or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def load(path: str | None = None, *, http: bool = True) -> Settings:
    """Reads and checks the configuration.

    Args:
        path: See `locate`.
        http: Whether the HTTP credentials are wanted: a helper runs as a user that may not read their file.

    Raises:
        ConfigurationError: With one line for each mistake found.
    """
    file = locate(path)
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "" if path else f" (--config or {PATH_VARIABLE} names another file)"
        raise ConfigurationError(f"{file}: {error.strerror}{hint}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        # The reader's sentence names a line and column and quotes at most one character.
        raise ConfigurationError(f"{file}: is not TOML: {error}") from None
    except (ValueError, RecursionError):  # a NUL in the path; a number of thousands of digits; lists in lists in lists
        raise ConfigurationError(f"{file}: is not TOML: it can't be read") from None
    return _Reader(file, http=http).settings(tree)


def _is_dotted(table: object) -> bool:
    """Whether a domain was written without quotes, so that its labels are tables in tables."""
    return (
        isinstance(table, dict)
        and len(table) == 1
        and all(isinstance(value, dict) and key not in Domain.__struct_fields__ for key, value in table.items())
    )


def _listed(table: object, key: str) -> object:
    """The table with the value of a key that may be a list or one of its items as a list."""
    if isinstance(table, dict) and key in table and not isinstance(table[key], list):
        return {**table, key: [table[key]]}
    return table


def _holds_secret(tree: Mapping[str, Any]) -> bool:
    """Whether a secret stands in the configuration itself, whose tables are known to be tables."""
    tables = [tree["http"], tree["metrics"], tree.get("log", {}), *tree["domains"].values()]
    return any(name in table for table in tables for name in ("credentials", "users_key", "bind_password"))


def _is_writable(file: Path) -> bool:
    try:
        return os.access(file if file.exists() else file.parent, os.W_OK)
    except (OSError, ValueError):
        return False


def domain_path(domain: str) -> str:
    """The path of a domain's table, as the messages write it."""
    return f'domains."{domain}"'


class _Reader:
    """Turns the tree of one file into `Settings`, collecting every mistake on the way."""

    def __init__(self, file: Path, *, http: bool) -> None:
        self._file = file
        self._http = http
        self._problems: list[str] = []
        self._warnings: list[str] = []

    def settings(self, tree: Mapping[str, Any]) -> Settings:
        sections: dict[str, type[msgspec.Struct]] = {
            "http": Http,
            "generic": Generic,
            "ejabberd": Ejabberd,
            "log": Log,
            "metrics": Metrics,
        }
        self._problems += [f"{key}: unknown key" for key in tree if key not in {*sections, "domains"}]
        tree = {**tree, **{name: _listed(tree.get(name, {}), "credentials") for name in ("http", "metrics")}}
        values = {name: self._convert(name, tree.get(name, {}), kind) for name, kind in sections.items()}
        domains = self._domains(tree.get("domains", {}))
        http, log, metrics = values["http"], values["log"], values["metrics"]
        if isinstance(http, Http) and self._http:
            values["http"] = self._check_http(http)
        if isinstance(log, Log):
            values["log"] = self._check_log(log)
        if isinstance(metrics, Metrics):
            values["metrics"] = self._check_metrics(metrics)
        if self._problems:
            raise ConfigurationError(*self._problems)
        if _holds_secret(tree):
            self._warn_if_readable(self._file)
        return Settings(domains=domains, warnings=tuple(self._warnings), **values)  # type: ignore[arg-type] # each of its section's type, or a problem was raised

    def _domains(self, tables: object) -> dict[str, Domain]:
        if not isinstance(tables, dict) or not tables:
            self._problems.append('domains: expected at least one table [domains."example.com"]')
            return {}
        domains: dict[str, Domain] = {}
        for name, table in tables.items():
            path = domain_path(name)
            if not name or name.lower() in domains:
                self._problems.append(f"{path}: {'given twice' if name else 'expected a domain'}")
                continue
            if _is_dotted(table):
                self._problems.append(f'{path}: put the domain in quotes, as in [domains."example.com"]')
                continue
            domain = self._convert(path, table, Domain)
            if isinstance(domain, Domain):
                domains[name.lower()] = self._check_domain(path, domain)
        return domains

    def _convert(self, path: str, table: object, kind: type[msgspec.Struct]) -> msgspec.Struct | None:
        try:
            return msgspec.convert(table, kind, dec_hook=_secret)
        except msgspec.ValidationError as error:
            self._problems.append(_located(path, str(error), kind))
            return None

    def _check_http(self, http: Http) -> Http:
        http = msgspec.structs.replace(http, credentials=self._credentials(http, "http"))
        if http.credentials and http.insecure_open:
            self._problems.append("http.insecure_open: contradicts credentials")
        return http

    def _check_metrics(self, metrics: Metrics) -> Metrics:
        if self._http:
            metrics = msgspec.structs.replace(metrics, credentials=self._credentials(metrics, "metrics"))
        if metrics != Metrics() and importlib.util.find_spec("prometheus_client") is None:
            self._problems.append("metrics: needs the package prometheus-client: pip install 'ldapauth[metrics]'")
        if metrics.textfile is None:
            return metrics
        file = self._file.parent.absolute() / metrics.textfile
        if file.suffix != ".prom":
            self._problems.append(
                "metrics.textfile: expected a name that ends with .prom, as node_exporter reads no other"
            )
        elif not _is_writable(file.parent):
            self._warnings.append(f"metrics.textfile: {file.parent}: can't be written, so there will be no file")
        return msgspec.structs.replace(metrics, textfile=str(file))

    def _credentials(self, struct: Http | Metrics, path: str) -> tuple[Secret, ...] | None:
        """The credentials of a table, each seen to have a user and a password."""
        found, text = struct.credentials, self._text(struct, path, "credentials")
        if text is not None:  # one a line
            lines = [line.removesuffix("\r") for line in text.split("\n")]
            found = tuple(Secret(line) for line in lines if line)
        if found == ():
            self._problems.append(f"{path}.credentials: is empty")
        for index, secret in enumerate(found or ()):
            if not re.fullmatch(r"[^:]+:.+", secret.reveal(), re.DOTALL):
                place = f"[{index}]" if len(found or ()) > 1 else ""
                self._problems.append(f'{path}.credentials{place}: expected "user:password"')
        return found

    def _check_log(self, log: Log) -> Log:
        if log.target not in ("stderr", "syslog", "none") and not log.target.startswith("/"):
            self._problems.append('log.target: expected "stderr", "syslog", "none" or an absolute path')
        elif log.target.startswith("/") and not _is_writable(Path(log.target)):
            self._warnings.append(f"log.target: {log.target}: can't be written, so nothing will be logged")
        text = self._text(log, "log", "users_key")
        if text is not None:
            log = msgspec.structs.replace(log, users_key=Secret(text))
        if log.users_key is not None and log.users != "hash":
            self._problems.append('log.users_key: is of no use without users = "hash"')
        if log.users_key is not None and len(log.users_key.reveal()) < SHORTEST_KEY:
            self._problems.append(
                f"log.users_key: expected at least {SHORTEST_KEY} characters, or names can be guessed"
            )
        return log

    def _check_domain(self, path: str, domain: Domain) -> Domain:
        text = self._text(domain, path, "bind_password")
        if text is not None:
            domain = msgspec.structs.replace(domain, bind_password=Secret(text))
        for name in ("ca_file", "client_cert", "client_key", "keytab"):
            domain = self._with_path(domain, path, name)
        if domain.client_key is not None and domain.client_cert is None:
            self._problems.append(f"{path}.client_key: needs client_cert")
        problems = (*_binding(domain), *_searching(domain), *_groups(domain), *_wire(domain))
        self._problems += [f"{path}.{problem}" for problem in problems]
        return _with_defaults_of_kind(domain)

    def _text(self, struct: msgspec.Struct, path: str, key: str) -> str | None:
        """What stands where `key`_file or `key`_env says; None if neither is given, or that is a problem."""
        given = [name for name in (key, f"{key}_file", f"{key}_env") if getattr(struct, name) is not None]
        if len(given) > 1:
            self._problems.append(f"{path}.{given[1]}: contradicts {given[0]}")
        elif given == [f"{key}_file"]:
            return self._text_of(f"{path}.{key}_file", getattr(struct, f"{key}_file"))
        elif given == [f"{key}_env"]:
            return self._variable(f"{path}.{key}_env", getattr(struct, f"{key}_env"))
        return None

    def _text_of(self, path: str, name: str) -> str | None:
        """What stands in a secret's file, without the line break at its end; None if that is a problem."""
        file = self._named(path, name)
        if file is None:
            return None
        problem = "is empty"
        try:
            text = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            if text:
                self._warn_if_readable(file)
                return text
        except OSError as error:
            problem = error.strerror or "can't be read"
        except UnicodeDecodeError:
            problem = "is not UTF-8 text"
        except ValueError:
            problem = "is not a file name"
        self._problems.append(f"{path}: {file}: {problem}")
        return None

    def _variable(self, path: str, name: str) -> str | None:
        """What an environment variable holds; None if that is a problem. Its name may be a secret by mistake."""
        text = os.environ.get(name)
        if text:
            return text
        self._problems.append(f"{path}: the environment variable is {'not set' if text is None else 'empty'}")
        return None

    def _named(self, path: str, name: str) -> Path | None:
        """The file of this name: one of systemd's credentials, or relative to the configuration; None if a problem."""
        variable, slash, rest = name.partition("/")
        if not slash or variable != f"${CREDENTIALS_VARIABLE}":
            return self._file.parent / name
        directory = os.environ.get(CREDENTIALS_VARIABLE)
        if directory:
            return Path(directory) / rest
        self._problems.append(f"{path}: {variable} is not set: systemd sets it, for a unit with LoadCredential=")
        return None

    def _with_path(self, domain: Domain, path: str, key: str) -> Domain:
        """The domain with a file's name made absolute, and the file seen to be readable."""
        name = getattr(domain, key)
        file = None if name is None else self._named(f"{path}.{key}", name)
        if file is None:
            return domain
        try:
            file.open("rb").close()
        except OSError as error:
            self._problems.append(f"{path}.{key}: {file}: {error.strerror}")
        except ValueError:
            self._problems.append(f"{path}.{key}: {file}: is not a file name")
        else:
            if key in ("client_key", "keytab") or (key == "client_cert" and domain.client_key is None):
                self._warn_if_readable(file)
        return msgspec.structs.replace(domain, **{key: str(file)})

    def _warn_if_readable(self, file: Path) -> None:
        """Notes that a file with a secret in it can be read by every user of the machine."""
        if file.stat().st_mode & stat.S_IROTH:
            self._warnings.append(f"{file}: holds a secret and may be read by every user: chmod o-rwx")


def _with_defaults_of_kind(domain: Domain) -> Domain:
    """The domain with what is usual in its kind of directory, where the kind is given and nothing else is said."""
    if domain.directory == "auto":
        return domain
    kind = KINDS[domain.directory]
    usual: dict[str, Any] = {}
    if domain.search:
        usual["search"] = tuple(
            msgspec.structs.replace(place, filter=place.filter or kind.filter) for place in domain.search
        )
    elif domain.filter is None and domain.is_searched:
        usual["filter"] = kind.filter
    if domain.password_change == "auto" and kind.way:  # noqa: S105 - the name of a way, not a password
        usual["password_change"] = kind.way
    if domain.inactive is None and kind.inactive:
        usual["inactive"] = kind.inactive
    if domain.required_groups and domain.group_membership == "auto":
        usual["group_membership"] = kind.membership
    register = domain.register
    usual["register"] = Register(
        dn=register.dn,
        object_classes=kind.object_classes if register.object_classes is None else register.object_classes,
        attributes=dict(kind.attributes) if register.attributes is None else register.attributes,
    )
    return msgspec.structs.replace(domain, **usual)


def left_to_directory(domain: Domain) -> list[str]:
    """The settings that only the directory can decide, once it is asked what kind it is."""
    left = {
        "filter": domain.is_searched and any(place.filter is None for place in domain.searches()),
        "group_membership": domain.required_groups != () and domain.group_membership == "auto",
        "inactive": domain.inactive is None,
        "password_change": domain.password_change == "auto",  # noqa: S105 - the name of a way, not a password
    }
    return [name for name, is_left in left.items() if is_left]


def _binding(domain: Domain) -> Iterator[str]:
    """What is wrong with how the service account binds."""
    ways = (domain.bind_password, domain.bind_password_file, domain.bind_password_env)
    given = any(way is not None for way in ways)
    if domain.keytab is not None and domain.bind != "gssapi":
        yield 'keytab: is of no use without bind = "gssapi"'
    if domain.bind != "simple":
        yield from _without_password(domain)
        yield from _external(domain) if domain.bind == "external" else _kerberos(domain)
        return
    if domain.bind_dn is not None and not given:
        yield "bind_dn: needs bind_password or bind_password_file (RFC 4513 5.1.2: without one the bind is anonymous)"
    if domain.bind_dn is None and given:
        yield "bind_password: is of no use without bind_dn"
    if domain.bind_password is not None and not domain.bind_password.reveal():
        yield "bind_password: is empty"


def _without_password(domain: Domain) -> Iterator[str]:
    """What is too much for a bind that knows no password."""
    ways = [name for name in ("bind_password_file", "bind_password_env", "bind_password") if name in _given(domain)]
    for name in (*(["bind_dn"] if domain.bind_dn is not None else []), *ways[:1]):
        yield f'{name}: contradicts bind = "{domain.bind}", which knows the account without'


def _kerberos(domain: Domain) -> Iterator[str]:
    """What is wrong with a bind with Kerberos."""
    if domain.keytab is None:
        yield 'keytab: is missing, for bind = "gssapi"'
    if not isinstance(domain.servers, str) and any(url.lower().startswith("ldapi:") for url in domain.servers):
        yield 'bind: "gssapi" needs the name of a host, which ldapi:// has not'


def _external(domain: Domain) -> Iterator[str]:
    """What is wrong with a bind by a certificate or a Unix socket."""
    urls = [] if isinstance(domain.servers, str) else domain.servers
    is_local = bool(urls) and all(url.lower().startswith("ldapi:") for url in urls)
    if not is_local and domain.client_cert is None:
        yield 'client_cert: is missing: with bind = "external" it says who the service account is, but on ldapi://'
    elif not is_local and not domain.start_tls and any(url.lower().startswith("ldap:") for url in urls):
        yield 'bind: "external" needs TLS, in which client_cert is shown: use ldaps://, or start_tls = true'


def _searching(domain: Domain) -> Iterator[str]:
    """What is wrong with how a user is found."""
    if domain.search:
        yield from (f"{name}: contradicts search" for name in sorted({"base_dn", "scope", "filter"} & _given(domain)))
    elif domain.binds_by_name and domain.base_dn is None:
        yield "base_dn: is missing: the entry of whoever has bound by such a user_dn is searched"
    elif domain.user_dn is None and domain.base_dn is None:
        yield "base_dn: is missing (or user_dn, to bind without a search)"
    if not domain.is_searched:
        for name in sorted({"filter", "search"} & _given(domain)):
            yield f"{name}: contradicts user_dn, which needs no search"


def _groups(domain: Domain) -> Iterator[str]:
    """What is wrong with the groups that users must be in."""
    for name in sorted({"group_membership", "group_base_dn"} & _given(domain)):
        if not domain.required_groups:
            yield f"{name}: is of no use without required_groups"


def _wire(domain: Domain) -> Iterator[str]:
    """What is wrong with the servers and the way to them."""
    if isinstance(domain.servers, str):
        yield from _srv(domain)
        return
    schemes = set()
    for index, url in enumerate(domain.servers):
        try:
            server = Server.parse(url)
        except ValueError as error:
            yield f"servers[{index}]: {error}"
            continue
        schemes.add(server.scheme)
        if server.scheme == "ldap" and not (domain.start_tls or domain.insecure_plaintext or server.is_loopback):
            yield (
                f"servers[{index}]: passwords would cross the network in clear:"
                " use ldaps://, or start_tls = true, or (not advised) insecure_plaintext = true"
            )
    if domain.start_tls and schemes and "ldap" not in schemes:
        yield "start_tls: is for ldap:// servers, and there is none"


def _srv(domain: Domain) -> Iterator[str]:
    """What is wrong with servers that DNS is to list."""
    if not re.fullmatch(r"srv:[^:/\s]+", str(domain.servers)):
        yield 'servers: expected an array of URLs, or "srv:" and a domain'
    elif not (domain.start_tls or domain.insecure_plaintext):
        yield "servers: DNS lists plain LDAP servers: use start_tls = true, or (not advised) insecure_plaintext = true"


def _given(domain: Domain) -> set[str]:
    """The keys whose value is not the default."""
    default = {field.name: field.default for field in msgspec.structs.fields(domain)}
    return {name for name, value in default.items() if getattr(domain, name) != value}


def _secret(kind: type, value: object) -> object:
    """The hook of msgspec for our one type that it doesn't know."""
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError("Expected `str`")  # msgspec adds the path; the value is not named


def _located(path: str, message: str, kind: type[msgspec.Struct]) -> str:
    """A message of msgspec's, "Expected … - at `$.key`", with the key's path in front of it and no value in it."""
    # From the right: on the left there may be a value that looks like a place.
    what, at, where = message.rpartition(" - at `$")
    if not at:
        what, where = message, ""
    where = where.removesuffix("`")
    path += where
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        near = difflib.get_close_matches(unknown[1], kind.__struct_fields__, 1) if not where else []
        return f"{path}.{unknown[1]}: unknown key" + "".join(f" (did you mean {name}?)" for name in near)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        return f"{path}.{missing[1]}: is missing"
    if what.startswith("Invalid enum value"):
        keys = re.findall(r"[.](\w+)", where)
        return f"{path}: expected one of {', '.join(_choices(_hint(kind, keys)))}"
    return f"{path}: {what[0].lower()}{what[1:]}"


def _hint(kind: type[msgspec.Struct], keys: list[str]) -> object:
    """The type of a setting, by the keys that lead to it."""
    hint = get_type_hints(kind)[keys[0]]
    return _hint(get_args(hint)[0], keys[1:]) if keys[1:] else hint  # an array of tables is all that has choices below


def _choices(hint: object) -> Iterator[str]:
    """The values that a type allows, quoted."""
    for argument in get_args(hint):
        if isinstance(argument, str):
            yield f'"{argument}"'
        else:
            yield from _choices(argument)


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain values for TOML, every secret a row of stars, what is not set left out."""
    tree = msgspec.to_builtins(settings, enc_hook=_stars)
    del tree["warnings"]
    plain: dict[str, Any] = _without_none(tree)
    return plain


def _stars(value: object) -> str:
    if isinstance(value, Secret):
        return "***"
    raise NotImplementedError(type(value))  # msgspec's way to say that a hook does not know a type


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    return [_without_none(value) for value in tree] if isinstance(tree, list | tuple) else tree
