"""One domain's LDAP directory: find exactly one user, verify by binding, change.

Words used here: an *entry* is what the directory holds for one user, named by its *DN*. To *find* is to search with the
service account's rights; to *verify* is to bind with the user's DN and password. The only package that imports ldap3.

Everything raises `DirectoryUnavailable` when no server gave an answer that can be trusted.
"""

import contextlib
import math
import time
from typing import Any

from ldapauth.config import Domain, domain_path
from ldapauth.deadline import Deadline, now
from ldapauth.errors import ChangeRefused, ConfigurationError, DirectoryUnavailable, UnclearAnswer
from ldapauth.kinds import KINDS, Way
from ldapauth.verdict import Reason, Verdict

from . import policy, refusal, wire
from .auto import Auto
from .connection import Connection
from .password import POLICY, check, demand_plain, demand_private, replace
from .pool import Opener, Pool, State
from .query import DnTemplate, FilterTemplate, Template, User, is_canonical, is_named, timed_filter

__all__ = ["Connection", "Directory", "Opener", "User"]

CERTIFICATE = "userCertificate;binary"  # RFC 4523 2.1

_MOST_KNOWN = 10_000  # names that are remembered with their DNs

_SIZE_LIMIT = 2  # entries: two are as ambiguous as a thousand
_ANY_OBJECT = wire.tlv(wire.PRESENT, b"objectClass")

# RFC 4511 appendix A.2
_SUCCESS, _SIZE_LIMIT_EXCEEDED, _REFERRAL, _NO_SUCH_OBJECT, _INVALID_DN = 0, 4, 10, 32, 34


class Directory:
    """The directory of one domain.

    Args:
        name: The domain, as the configuration names it.
        settings: Its settings.
        opener: How connections are opened.

    Raises:
        ConfigurationError: A template, filter or certificate can't be used; one line for each.
    """

    def __init__(self, name: str, settings: Domain, opener: Opener = Connection.open) -> None:
        self._settings = settings
        parse = _Templates(domain_path(name))
        self._base = parse.dn("base_dn", settings.base_dn or "", needs_user=False)
        self._user_dn = parse.dn("user_dn", settings.user_dn) if settings.user_dn is not None else None
        self._filter = parse.filter("filter", settings.filter) if settings.filter is not None else None
        naming = "uid" if settings.directory == "auto" else KINDS[settings.directory].naming
        self._new_dn = self._user_dn or parse.below(f"{naming}={{user}}", settings.base_dn or "")
        if settings.register.dn is not None:
            self._new_dn = parse.dn("register.dn", settings.register.dn)
        self._new_attributes = {
            key: parse.text(f"register.attributes.{key}", value) for key, value in settings.register.attributes.items()
        }
        parse.timed("inactive", settings.inactive)
        parse.done()
        self._auto = Auto(settings)
        self._known = _KnownNames(settings.dn_cache_ttl)
        self._queries: dict[tuple[str, ...], wire.Search] = {}
        self._time_limit = math.ceil(settings.deadline)  # a courtesy to the server; our own limit is exact
        self._pool = Pool(domain_path(name), settings, opener)

    def find(self, user: User, deadline: Deadline) -> str | Reason:
        """The DN of exactly one entry, or why there is none."""
        entry = self._find(user, (), deadline)
        return entry if isinstance(entry, Reason) else entry.dn

    def check_password(self, user: User, password: str, deadline: Deadline) -> Verdict:
        """Whether the directory lets the user bind with the password, which must not be empty."""
        template = self._user_dn
        if template is not None:
            return self._pool.verify(
                lambda connection, limit: self._bind_unsearched(connection, template, user, password, limit), deadline
            )
        known, refused = self._known.get(user), None
        if known is not None:
            verdict = self.verify(known, password, deadline)
            if verdict.accepted:
                return verdict
            refused = verdict
            self._known.forget(user)  # the user may have been moved since
        dn = self.find(user, deadline)
        if isinstance(dn, Reason):
            return Verdict(dn)
        if (
            refused is not None and dn == known
        ):  # this password has been tried, and a second try would be counted as well
            return refused
        verdict = self.verify(dn, password, deadline)
        if verdict.accepted:
            self._known.put(user, dn)
        return verdict

    def verify(self, dn: str, password: str, deadline: Deadline) -> Verdict:
        """Whether the directory lets this DN bind with the password, which must not be empty."""
        return self._pool.verify(
            lambda connection, limit: self._verdict(connection, self._bind(connection, dn, password, limit)), deadline
        )

    def certificates(self, user: User, deadline: Deadline) -> list[bytes] | Reason:
        """The user's certificates in DER form, or why there is no such user, or none that may log in.

        Nothing binds with a certificate, so the directory is asked whether the account may be used.
        """
        entry = self._find(user, (CERTIFICATE,), deadline)
        if isinstance(entry, Reason):
            return entry
        if self._pool.read(lambda connection, limit: self._is_inactive(connection, user, entry.dn, limit), deadline):
            return Reason.NOT_PERMITTED
        # Some servers return the attribute without its option.
        return [value for name, values in entry.attributes.items() if _is_certificate(name) for value in values]

    def set_password(self, dn: str, password: str, deadline: Deadline) -> None:
        """Replaces the password of an entry.

        Raises:
            ChangeRefused: The directory does not do it.
        """
        way = self._pool.read(self._auto.password_change, deadline)
        self._pool.change(lambda connection, limit: self._replace(connection, way, dn, password, limit), deadline)

    def add(self, user: User, password: str, deadline: Deadline) -> None:
        """Makes an entry with the password. Where the password is refused, no entry stays behind.

        Raises:
            ChangeRefused: The directory does not do it.
        """
        dn = self._new_dn.fill(user)
        attributes: dict[str, Any] = {"objectClass": list(self._settings.register.object_classes)}
        attributes |= {key: template.fill(user).encode() for key, template in self._new_attributes.items()}
        way = self._pool.read(self._auto.password_change, deadline)
        demand_plain(way, password)
        if way == "modify":
            attributes["userPassword"] = password.encode()

        def make(connection: Connection, limit: Deadline) -> None:
            demand_private(connection, way, start_tls=self._settings.start_tls)
            done = connection.rare(lambda ldap: ldap.add(dn, attributes=attributes, controls=[POLICY])[1], limit)
            check(connection, done, password=True)

        self._pool.change(make, deadline)
        if way == "modify":
            return
        try:
            self._pool.change(lambda connection, limit: self._replace(connection, way, dn, password, limit), deadline)
        except BaseException:
            # Without a password nobody can log in with it, so what can't be undone is only untidy.
            with contextlib.suppress(ChangeRefused, DirectoryUnavailable):
                self.delete(dn, deadline)
            raise

    def delete(self, dn: str, deadline: Deadline) -> None:
        """Deletes an entry.

        Raises:
            ChangeRefused: The directory does not do it.
        """

        def remove(connection: Connection, limit: Deadline) -> None:
            check(connection, connection.rare(lambda ldap: ldap.delete(dn)[1], limit))

        self._pool.change(remove, deadline)

    def state(self) -> State:
        """How the servers and connections are; nobody is asked."""
        return self._pool.state()

    def is_ready(self, patience: Deadline) -> bool:
        """Whether the directory could be asked last, without asking it often; waits for a first word, with patience."""
        return self._pool.is_ready(patience)

    def close(self) -> None:
        """Closes the kept connections; nothing is asked any more."""
        self._pool.close()

    def _replace(self, connection: Connection, way: Way, dn: str, password: str, deadline: Deadline) -> None:
        demand_private(connection, way, start_tls=self._settings.start_tls)
        replace(connection, way, dn, password, deadline)

    def _bind(self, connection: Connection, dn: str, password: str, deadline: Deadline) -> wire.Result:
        """Binds as a user; the server is to say what its password policy has to say."""
        return connection.bind(dn, password, deadline, policy.REQUEST)

    def _verdict(self, connection: Connection, result: wire.Result) -> Verdict:
        """What the answer to a user's bind means."""
        verdict = refusal.verdict(result, accept_must_change=self._settings.must_change == "accept")
        if verdict is None:
            raise UnclearAnswer(f"{connection.server}: the user's bind was not answered ({refusal.detail(result)})")
        return verdict

    def _is_inactive(self, connection: Connection, user: User, dn: str, deadline: Deadline) -> bool:
        """Whether the account may not be used, however its owner has proved who it is."""
        text = self._auto.inactive(connection, deadline)
        if not text:
            return False
        query = wire.Search(wire.encoded_dn(dn), "base", ("1.1",), 1, self._time_limit)
        entries, result = connection.search(query, timed_filter(text, time.time()).encode(user), deadline)
        if result.code != _SUCCESS:
            raise DirectoryUnavailable(
                f"{connection.server}: whether the account may be used can't be asked ({_said(result)})"
            )
        return bool(entries)

    def _find(self, user: User, more: tuple[str, ...], deadline: Deadline) -> wire.Entry | Reason:
        template = self._user_dn
        if template is not None:
            return self._pool.read(
                lambda connection, limit: self._read(connection, template, user, more, limit), deadline
            )
        return self._pool.read(lambda connection, limit: self._search(connection, user, more, limit), deadline)

    def _search(
        self, connection: Connection, user: User, more: tuple[str, ...], deadline: Deadline
    ) -> wire.Entry | Reason:
        """The one entry that the filter finds and that is named so."""
        template = self._filter or self._auto.filter(connection, deadline)
        sole = None if more else template.sole_attribute(user)
        query = self._query(user, template.naming, more)
        entries, result = connection.search(query, template.encode(user), deadline, sole)
        if result is wire.AS_EXPECTED:
            return entries[0]
        if result.code == _NO_SUCH_OBJECT and not self._base.constant:
            return Reason.NO_SUCH_USER  # no directory tree for this domain
        if result.code == _NO_SUCH_OBJECT:
            base = self._base.fill(user)
            raise DirectoryUnavailable(
                f"{connection.server}: there is no {base}, or the service account may not see it (result 32):"
                " see base_dn and bind_dn"
            )
        if len(entries) > 1:
            return Reason.AMBIGUOUS
        if result.code != _SUCCESS:
            raise DirectoryUnavailable(f"{connection.server}: the search failed ({_said(result)})")
        if not entries:
            return Reason.NO_SUCH_USER
        return _named(connection, user, template.naming, entries[0], more)

    def _query(self, user: User, naming: list[tuple[str, Template]], more: tuple[str, ...]) -> wire.Search:
        """The search around the filter, encoded once for all users where the base DN is the same for all."""
        query = self._queries.get(more)
        if query is None:
            names = (*_names(naming), *more)
            base = self._base.fill(user).encode()
            query = wire.Search(base, self._settings.scope, names, _SIZE_LIMIT, self._time_limit)
            if self._base.constant:
                self._queries[more] = query
        return query

    def _read(
        self, connection: Connection, template: DnTemplate, user: User, more: tuple[str, ...], deadline: Deadline
    ) -> wire.Entry | Reason:
        """The entry at the DN that the template gives."""
        naming = template.naming()
        query = wire.Search(template.fill(user).encode(), "base", (*_names(naming), *more), 1, self._time_limit)
        entries, result = connection.search(query, _ANY_OBJECT, deadline)
        if result.code in (_NO_SUCH_OBJECT, _INVALID_DN) or (result.code == _SUCCESS and not entries):
            return Reason.NO_SUCH_USER
        if result.code != _SUCCESS:
            raise DirectoryUnavailable(f"{connection.server}: the entry can't be read ({_said(result)})")
        return _named(connection, user, naming, entries[0], more)

    def _bind_unsearched(
        self, connection: Connection, template: DnTemplate, user: User, password: str, deadline: Deadline
    ) -> Verdict:
        """Binds as the template's DN; then reads the entry, if the user may, to see that it is named so.

        Where the user may not read the own entry, only names that no directory takes for another's are accepted.
        """
        result = self._bind(connection, template.fill(user), password, deadline)
        verdict = self._verdict(connection, result)
        if not verdict.accepted:
            return verdict
        if result.code != _SUCCESS:  # Active Directory lets nobody in who must change it, so nothing can be read
            return Verdict(Reason.MUST_CHANGE)
        found: wire.Entry | Reason
        try:
            found = self._read(connection, template, user, (), deadline)
        except DirectoryUnavailable:
            if connection.closed:
                raise
            found = Reason.NO_SUCH_USER
        if found is Reason.NO_SUCH_USER and is_canonical(user.name):
            return verdict
        return Verdict(Reason.OTHER_NAME) if isinstance(found, Reason) else verdict


class _KnownNames:
    """Names and their DNs, remembered for some seconds; for none at all when the time to live is 0."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._known: dict[User, tuple[str, float]] = {}

    def get(self, user: User) -> str | None:
        """The DN of a user, if it is known and fresh."""
        dn, until = self._known.get(user, ("", 0.0))
        return dn if now() < until else None

    def put(self, user: User, dn: str) -> None:
        """Remembers a DN; when there are too many, none of the old ones is worth a search for the oldest."""
        if self._ttl:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[user] = (dn, now() + self._ttl)

    def forget(self, user: User) -> None:
        """Forgets a DN."""
        self._known.pop(user, None)


class _Templates:
    """Parses the templates of one domain and collects what is wrong with them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._problems: list[str] = []

    def dn(self, key: str, text: str, *, needs_user: bool = True) -> DnTemplate:
        """A DN template; an empty one in place of a wrong one."""
        try:
            template = DnTemplate(text)
            if needs_user and "user" not in template:
                raise ValueError("has no {user} in it")  # noqa: TRY301 - one place makes the lines
        except ValueError as error:
            self._problems.append(f"{self._path}.{key}: {error}")
            return DnTemplate("")
        return template

    def below(self, rdn: str, base: str) -> DnTemplate:
        """The template of an RDN below a base DN; an empty one below a wrong base, which is a problem already."""
        try:
            return DnTemplate(f"{rdn},{base}" if base else rdn)
        except ValueError:
            return DnTemplate("")

    def filter(self, key: str, text: str) -> FilterTemplate | None:
        """A filter template."""
        try:
            return FilterTemplate(text)
        except ValueError as error:
            self._problems.append(f"{self._path}.{key}: {error}")
            return None

    def timed(self, key: str, text: str | None) -> None:
        """A filter that is made anew for each moment, and only tried here."""
        try:
            if text:
                timed_filter(text, 0)
        except ValueError as error:
            self._problems.append(f"{self._path}.{key}: {error}")

    def text(self, key: str, text: str) -> Template:
        """A text template; an empty one in place of a wrong one."""
        try:
            return Template(text)
        except ValueError as error:
            self._problems.append(f"{self._path}.{key}: {error}")
            return Template("")

    def done(self) -> None:
        """Raises what was collected."""
        if self._problems:
            raise ConfigurationError(*self._problems)


def _said(result: wire.Result) -> str:
    """A result for an operator. Referrals are not followed: they would take the password to whatever host they name."""
    if result.code == _REFERRAL:
        return "result 10: the server refers to another one, which is not followed"
    return f"result {result.code}: {result.message}" if result.message else f"result {result.code}"


def _names(naming: list[tuple[str, Template]]) -> tuple[str, ...]:
    """The attributes to ask for."""
    return tuple(dict.fromkeys(name for name, _ in naming))


def _named(
    connection: Connection, user: User, naming: list[tuple[str, Template]], entry: wire.Entry, more: tuple[str, ...]
) -> wire.Entry | Reason:
    """The entry, if it is named as the user is."""
    if not entry.dn:  # RFC 4513 5.1.1: a bind with it would be anonymous, and succeed
        raise DirectoryUnavailable(f"{connection.server}: an entry without a DN")
    names = _without_certificates(entry) if more else entry
    if is_named(user, naming, names):
        return entry
    if not any(names.attributes.values()):
        raise DirectoryUnavailable(
            f"{connection.server}: the service account may not read {', '.join(_names(naming))} of whom it finds"
        )
    return Reason.OTHER_NAME


def _without_certificates(entry: wire.Entry) -> wire.Entry:
    """The entry with nothing but what names it."""
    kept = {name: values for name, values in entry.attributes.items() if not _is_certificate(name)}
    return wire.Entry(entry.message_id, entry.dn, kept)


def _is_certificate(name: str) -> bool:
    return name.lower().partition(";")[0] == "usercertificate"
