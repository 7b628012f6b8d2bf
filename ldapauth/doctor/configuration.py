"""What can be said of the configuration without asking any server: mistakes, warnings, secrets, deadlines."""

import dataclasses
import datetime as dt
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ldapauth import certificate, config
from ldapauth.config import Domain, Settings
from ldapauth.errors import ConfigurationError
from ldapauth.provider import Provider

from .finding import Finding, not_asked, ok, problem, warning

_DAY = dt.timedelta(days=1)

EXPIRES_SOON = 14 * _DAY
"""When a certificate's end is near: whoever renews automatically has done so by then."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Client:
    """What waits for a front end's answers. Source: docs/clients.md."""

    table: str
    patience: float  # seconds
    who: str
    setting: str


_CLIENTS = (
    _Client("http", 5.0, "Prosody, MongooseIM and ejabberd-contrib's module", "below 5"),
    _Client("generic", 5.0, "Prosody", "below 5, or raise external_auth_timeout there"),
    _Client("ejabberd", 30.0, "ejabberd", "well below 30"),
)


def read(path: str | None) -> tuple[Settings | None, list[Finding]]:
    """The settings, if they can be used, and what is to be said of the file itself."""
    file = config.locate(path)
    try:
        settings, findings = _loaded(path)
        Provider(settings)
    except ConfigurationError as error:
        return None, [
            problem(line, f"correct {file}; docs/configuration.md has every setting") for line in error.problems
        ]
    many = "1 domain" if len(settings.domains) == 1 else f"{len(settings.domains)} domains"
    return settings, [ok(f"{file}: {many}, no mistakes"), *findings]


def _loaded(path: str | None) -> tuple[Settings, list[Finding]]:
    """The settings; without the HTTP credentials if it is they alone that can't be had, as for a helper's user.

    Raises:
        ConfigurationError: There are other mistakes.
    """
    try:
        return config.load(path), []
    except ConfigurationError as error:
        mistakes = error
    try:
        settings = config.load(path, http=False)
    except ConfigurationError:
        raise mistakes from None
    return settings, [_without_http(line) for line in mistakes.problems]


def _without_http(line: str) -> Finding:
    """What a mistake means that only the app minds."""
    if line.endswith(os.strerror(errno.EACCES)):
        return warning(f"{line}: as this user the app does not start", "run the doctor as the app's user too")
    return problem(f"{line}: the app does not start", "correct it; the helpers don't need it")


def secrets(settings: Settings) -> Iterator[Finding]:
    """Whether secrets are kept from other users."""
    readable = [line for line in settings.warnings if "holds a secret" in line]
    for line in settings.warnings:
        text, colon, remedy = line.rpartition(": chmod")
        if colon:
            yield warning(text, f"chmod{remedy} {line.partition(': ')[0]}")
        else:
            yield warning(line, "name a file in a directory that the program's user may write to")
    if not readable:
        yield ok("no secret in a file may be read by every user of this machine")
    if os.geteuid() == 0 and _names_files(settings):
        text = "whether the program's own user may read the files: root may read any"
        yield not_asked(text, "run the doctor as that user: runuser -u USER -- ldapauth doctor")


def _names_files(settings: Settings) -> bool:
    """Whether there is a file that only one user may be able to read."""
    names = [settings.http.credentials_file, settings.metrics.credentials_file, settings.log.users_key_file]
    names += [settings.guard.storage_file, settings.guard.secret_file]
    for domain in settings.domains.values():
        names += [domain.bind_password_file, domain.client_cert, domain.client_key, domain.keytab]
    return any(names)


def credentials(settings: Settings) -> Iterator[Finding]:
    """Who may ask over HTTP."""
    if settings.http.insecure_open:
        yield warning(
            "http.insecure_open: the app answers whoever can connect",
            "set http.credentials, unless nobody but the XMPP server can connect",
        )
    elif settings.http.credentials is None:
        yield ok("http.credentials are not set: the app does not start; the helpers do")
    elif len(settings.http.credentials) > 1:
        yield ok(f"http.credentials: any of {len(settings.http.credentials)} will do")


def deadlines(settings: Settings) -> Iterator[Finding]:
    """Whether an answer comes before the XMPP server has given up."""
    late = False
    for client in _CLIENTS:
        seconds = getattr(settings, client.table).deadline
        if seconds >= client.patience:
            late = True
            text = f"{client.table}.deadline is {seconds:g} seconds; {client.who} waits for {client.patience:g}"
            yield problem(f"{text}: an answer may come too late", f"set {client.table}.deadline {client.setting}")
    if not late:
        times = [
            f"{client.table} {getattr(settings, client.table).deadline:g} of {client.patience:g}" for client in _CLIENTS
        ]
        yield ok(f"every answer leaves before the XMPP server gives up ({', '.join(times)} seconds)")


def protections(settings: Domain) -> Iterator[Finding]:
    """Which protections a domain's table has taken away."""
    if settings.insecure_plaintext:
        text = "insecure_plaintext: passwords may cross the network in clear, for whoever listens"
        yield warning(text, "use ldaps:// or start_tls = true, and take insecure_plaintext away")
    if settings.insecure_skip_verify:
        text = "insecure_skip_verify: passwords go to whoever gets in between"
        yield warning(text, "name the authority, or the server's own certificate, in ca_file instead")


def client_certificate(settings: Domain) -> Iterator[Finding]:
    """How long the certificate that servers are shown is valid."""
    if settings.client_cert is None:
        return
    file = Path(settings.client_cert)
    der = certificate.first(file.read_text(encoding="utf-8", errors="replace"))
    found = None if der is None else certificate.describe(der)
    if found is None:
        yield not_asked(f"client_cert: {file}: until when it is valid: it can't be read")
        return
    yield from validity(f"client_cert ({found.subject}) is", found, "renew it")


def validity(what: str, found: certificate.Description, remedy: str) -> Iterator[Finding]:
    """Whether a certificate, about which `what` begins to speak, is valid, and for how long."""
    left, end = found.end - dt.datetime.now(dt.UTC), f"{found.end:%Y-%m-%d}"
    if found.begin > dt.datetime.now(dt.UTC):
        yield problem(f"{what} not valid before {found.begin:%Y-%m-%d %H:%M} UTC", "is this machine's clock right?")
    elif left < dt.timedelta():
        yield problem(f"{what} not valid since {end}", remedy)
    elif left < EXPIRES_SOON:
        yield warning(f"{what} valid for {left // _DAY} more days only, until {end}", remedy)
    else:
        yield ok(f"{what} valid for {left // _DAY} more days, until {end}")
