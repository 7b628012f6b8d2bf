"""One domain's LDAP directory: find exactly one user, verify by binding, change.

Words used here: an *entry* is what the directory holds for one user, named by its *DN*. To *find* is to search with the
service account's rights; to *verify* is to bind with the user's DN and password. The only package that imports ldap3.

Everything raises `DirectoryUnavailable` when no server gave an answer that can be trusted.
"""

import contextlib
import math
import time

from ldapauth.config import Domain, domain_path
from ldapauth.deadline import Deadline, now
from ldapauth.errors import ChangeRefused, ConfigurationError, DirectoryUnavailable, UnclearAnswer
from ldapauth.kinds import Way
from ldapauth.verdict import Reason, Verdict

from . import kerberos, policy, refusal, wire
from .account import new_entry, switch_off
from .auto import Auto
from .connection import Connection
from .groups import Groups, above
from .password import POLICY, check, demand_plain, demand_private, replace, stored
from .pool import Opener, Pool, State
from .query import DnTemplate, FilterTemplate, Template, User, is_canonical, is_prepared, timed_filter
from .search import ANY_OBJECT, Place, attributes, find_in, is_any, named, said

__all__ = ["Connection", "Directory", "Opener", "User"]

# RFC 4523 2.1; by that name alone, Active Directory shows nothing.
CERTIFICATES = ("userCertificate;binary", "userCertificate")

_MOST_KNOWN = 10_000  # names that are remembered with their DNs

# RFC 4511 appendix A.2
_SUCCESS, _NO_SUCH_OBJECT, _INVALID_DN = 0, 32, 34


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
        self._auto = Auto(settings)
        self._time_limit = math.ceil(settings.deadline)  # a courtesy to the server; our own limit is exact
        self._user_dn: DnTemplate | None = None
        self._user_name: Template | None = None
        if settings.binds_by_name:
            self._user_name = parse.text("user_dn", settings.user_dn or "", needs_user=True)
        elif settings.user_dn is not None:
            self._user_dn = parse.dn("user_dn", settings.user_dn)
        self._places = self._parsed_places(parse)
        self._place = self._places[0] if len(self._places) == 1 and self._user_dn is None else None  # nearly always
        self._groups = self._parsed_groups(parse) if settings.required_groups else None
        if settings.register.dn is not None:
            parse.dn("register.dn", settings.register.dn)
        for key, value in (settings.register.attributes or {}).items():
            parse.text(f"register.attributes.{key}", value)
        parse.timed("inactive", settings.inactive)
        if settings.bind == "gssapi" and not kerberos.is_installed():
            parse.problem("bind", "\"gssapi\" needs the extra kerberos: pip install 'ldapauth[kerberos]'")
        parse.done()
        self._known = _KnownNames(settings.dn_cache_ttl) if settings.dn_cache_ttl else None
        self._pool = Pool(domain_path(name), settings, opener)

    def _parsed_places(self, parse: "_Templates") -> list[Place]:
        """Where users are searched."""
        places = []
        for index, search in enumerate(self._settings.searches()):
            path = f"search[{index}]." if self._settings.search else ""
            base = parse.dn(f"{path}base_dn", search.base_dn, needs_user=False)
            template = None if search.filter is None else parse.filter(f"{path}filter", search.filter)
            places.append(Place(search, base, template, self._auto, self._time_limit))
        return places

    def _parsed_groups(self, parse: "_Templates") -> Groups:
        """The groups that users must be in."""
        given = self._settings.required_groups
        required = [parse.dn(f"required_groups[{i}]", text, needs_user=False) for i, text in enumerate(given)]
        text = self._settings.group_base_dn or above(list(given))
        are_dns = all(group.fill(User("x", "x")) for group in required)
        if not text and are_dns and self._settings.group_membership in ("auto", "member", "uniqueMember"):
            parse.problem("group_base_dn", "is missing: the required_groups have no entry above them all")
        base = parse.dn("group_base_dn", text, needs_user=False)
        return Groups(required, base, self._settings, self._auto, self._time_limit)

    def find(self, user: User, deadline: Deadline) -> str | Reason:
        """The DN of exactly one entry, or why there is none."""
        entry = self._pool.read(lambda connection, limit: self._find_on(connection, user, (), limit), deadline)
        return entry if isinstance(entry, Reason) else entry.dn

    def check_password(self, user: User, password: str, deadline: Deadline) -> Verdict:
        """Whether the directory lets the user bind with the password, which must not be empty."""
        if self._user_dn is not None or self._user_name is not None:
            if not is_prepared(user.name):  # each spelling of a name would be counted as a guess at one account
                return Verdict(Reason.OTHER_NAME)
            return self._pool.verify(
                lambda connection, limit: self._bind_first(connection, user, password, limit), deadline
            )
        if self._known is not None:
            return self._check_known(self._known, user, password, deadline)
        dn = self.find(user, deadline)
        return Verdict(dn) if isinstance(dn, Reason) else self.verify(dn, password, deadline)

    def _check_known(self, names: "_KnownNames", user: User, password: str, deadline: Deadline) -> Verdict:
        """As `check_password`, with names that are remembered with their DNs."""
        known, refused = names.get(user), None
        if known is not None:
            verdict = self.verify(known, password, deadline)
            if verdict.accepted:
                return verdict
            refused = verdict
            names.forget(user)  # the user may have been moved since
        dn = self.find(user, deadline)
        if isinstance(dn, Reason):
            return Verdict(dn)
        if refused is not None and dn == known:  # this password has been tried, and a second try would be counted too
            return refused
        verdict = self.verify(dn, password, deadline)
        if verdict.accepted:
            names.put(user, dn)
        return verdict

    def verify(self, dn: str, password: str, deadline: Deadline) -> Verdict:
        """Whether the directory lets this DN bind with the password, which must not be empty."""
        return self._pool.verify(
            lambda connection, limit: self._verdict(connection, connection.bind(dn, password, limit, policy.REQUEST)),
            deadline,
        )

    def certificates(self, user: User, deadline: Deadline) -> list[bytes] | Reason:
        """The user's certificates in DER form, or why there is no such user, or none that may log in.

        Nothing binds with a certificate, so the directory is asked whether the account may be used.
        """
        entry = self._pool.read(
            lambda connection, limit: self._find_on(connection, user, CERTIFICATES, limit), deadline
        )
        if isinstance(entry, Reason):
            return entry
        if self._pool.read(lambda connection, limit: self._is_inactive(connection, user, entry.dn, limit), deadline):
            return Reason.NOT_PERMITTED
        # Where there are the two names, they may have the same values.
        mine = [value for name, values in entry.attributes.items() if is_any(name, CERTIFICATES) for value in values]
        return list(dict.fromkeys(mine))

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
        way = self._pool.read(self._auto.password_change, deadline)
        dn, attributes = new_entry(self._settings, self._pool.read(self._auto.kind, deadline), user)
        demand_plain(way, password)
        if way != "extended":
            attributes |= [stored(way, password)]

        def make(connection: Connection, limit: Deadline) -> None:
            demand_private(connection, way, start_tls=self._settings.start_tls)
            done = connection.rare(lambda ldap: ldap.add(dn, attributes=attributes, controls=[POLICY])[1], limit)
            check(connection, done, password=True)

        self._pool.change(make, deadline)
        if way != "extended":
            return
        try:
            self._pool.change(lambda connection, limit: self._replace(connection, way, dn, password, limit), deadline)
        except BaseException:
            # Without a password nobody can log in with it, so what can't be undone is only untidy.
            with contextlib.suppress(ChangeRefused, DirectoryUnavailable):
                self._delete(dn, deadline)
            raise

    def remove(self, dn: str, deadline: Deadline) -> None:
        """Deletes an entry, or switches the account off, as the configuration says.

        Raises:
            ChangeRefused: The directory does not do it.
        """
        if self._settings.remove == "delete":
            self._delete(dn, deadline)
        else:
            kind = self._pool.read(self._auto.kind, deadline)
            self._pool.change(lambda connection, limit: switch_off(connection, kind, dn, limit), deadline)

    def _delete(self, dn: str, deadline: Deadline) -> None:
        self._pool.change(
            lambda connection, limit: check(connection, connection.rare(lambda ldap: ldap.delete(dn)[1], limit)),
            deadline,
        )

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
            raise UnclearAnswer(f"{connection.server}: whether the account may be used can't be asked ({said(result)})")
        return bool(entries)

    def _find_on(
        self, connection: Connection, user: User, more: tuple[str, ...], deadline: Deadline
    ) -> wire.Entry | Reason:
        """The one entry of a user who may log in, or why there is none."""
        if self._place is not None and self._groups is None:  # nearly always
            return self._place.find(connection, user, more, deadline)
        if self._user_dn is not None:
            found = self._read(connection, self._user_dn, user, more, deadline)
        else:
            found = find_in(self._places, connection, user, more, deadline)
        if self._groups is None or isinstance(found, Reason):
            return found
        return found if self._groups.include(connection, user, found.dn, deadline) else Reason.NOT_IN_GROUP

    def _read(
        self, connection: Connection, template: DnTemplate, user: User, more: tuple[str, ...], deadline: Deadline
    ) -> wire.Entry | Reason:
        """The entry at the DN that the template gives."""
        naming = template.naming()
        query = wire.Search(template.fill(user).encode(), "base", (*attributes(naming), *more), 1, self._time_limit)
        entries, result = connection.search(query, ANY_OBJECT, deadline)
        if result.code in (_NO_SUCH_OBJECT, _INVALID_DN) or (result.code == _SUCCESS and not entries):
            return Reason.NO_SUCH_USER
        if result.code != _SUCCESS:
            raise UnclearAnswer(f"{connection.server}: the entry can't be read ({said(result)})")
        return named(connection, user, naming, entries[0], more)

    def _bind_first(self, connection: Connection, user: User, password: str, deadline: Deadline) -> Verdict:
        """Binds by the name that the template gives; then has a look at the entry, with the user's own rights."""
        template = self._user_dn
        name = self._user_name.fill(user) if self._user_name else template.fill(user) if template else ""
        result = connection.bind(name, password, deadline, policy.REQUEST)
        verdict = self._verdict(connection, result)
        if not verdict.accepted:
            return verdict
        if result.code != _SUCCESS:  # Active Directory lets nobody in who must change it, so nothing can be read
            return Verdict(Reason.MUST_CHANGE)
        if template is None:
            found = self._find_on(connection, user, (), deadline)
            # Somebody else's entry may have this name: whoever has bound is the one whose password it is.
            return Verdict(found) if isinstance(found, Reason) else self._rebind(connection, found, password, deadline)
        reason = self._read_own(connection, template, user, deadline)
        return verdict if reason is None else Verdict(reason)

    def _rebind(self, connection: Connection, entry: wire.Entry, password: str, deadline: Deadline) -> Verdict:
        return self._verdict(connection, connection.bind(entry.dn, password, deadline, policy.REQUEST))

    def _read_own(self, connection: Connection, template: DnTemplate, user: User, deadline: Deadline) -> Reason | None:
        """Why the entry of a user who has bound is not the one that was asked for, or not in the groups.

        Where the user may not read the own entry, only names that no directory takes for another's are accepted.
        """
        found: wire.Entry | Reason
        try:
            found = self._read(connection, template, user, (), deadline)
        except DirectoryUnavailable:
            if connection.closed:
                raise
            found = Reason.NO_SUCH_USER
        if isinstance(found, Reason) and not (found is Reason.NO_SUCH_USER and is_canonical(user.name)):
            return Reason.OTHER_NAME
        if self._groups and not self._groups.include(connection, user, template.fill(user), deadline):
            return Reason.NOT_IN_GROUP
        return None


class _KnownNames:
    """Names and their DNs, remembered for some seconds."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._known: dict[User, tuple[str, float]] = {}

    def get(self, user: User) -> str | None:
        """The DN of a user, if it is known and fresh."""
        dn, until = self._known.get(user, ("", 0.0))
        return dn if now() < until else None

    def put(self, user: User, dn: str) -> None:
        """Remembers a DN; when there are too many, none of the old ones is worth a search for the oldest."""
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
            self.problem(key, str(error))
            return DnTemplate("")
        return template

    def filter(self, key: str, text: str) -> FilterTemplate | None:
        """A filter template."""
        try:
            return FilterTemplate(text)
        except ValueError as error:
            self.problem(key, str(error))
            return None

    def timed(self, key: str, text: str | None) -> None:
        """A filter that is made anew for each moment, and only tried here."""
        try:
            if text:
                timed_filter(text, 0)
        except ValueError as error:
            self.problem(key, str(error))

    def text(self, key: str, text: str, *, needs_user: bool = False) -> Template:
        """A text template; an empty one in place of a wrong one."""
        try:
            template = Template(text)
            if needs_user and "user" not in template:
                raise ValueError("has no {user} in it")  # noqa: TRY301 - one place makes the lines
            return template  # noqa: TRY300 - likewise
        except ValueError as error:
            self.problem(key, str(error))
            return Template("")

    def problem(self, key: str, text: str) -> None:
        """Notes what is wrong with a setting."""
        self._problems.append(f"{self._path}.{key}: {text}")

    def done(self) -> None:
        """Raises what was collected."""
        if self._problems:
            raise ConfigurationError(*self._problems)
