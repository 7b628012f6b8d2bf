"""From a user's name to search filters and DNs, and back to whether an entry is that user's.

Owns the templates of the configuration (`filter`, `user_dn`, `base_dn`, `register`): they are parsed once, at start,
and a name enters a filter as a BER value and a DN with every doubtful byte escaped, so there is nothing to inject.
Knows no connection and no server.
"""

import contextlib
import itertools
import re
import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation import search as ldap3_search
from ldap3.protocol.convert import prepare_filter_for_sending
from ldap3.utils.dn import parse_dn

from . import wire

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_SINCE_1601 = 11_644_473_600  # seconds to 1970
_PLAIN = re.compile(rb"[A-Za-z0-9._@-]")

# How ldap3 numbers the nodes of a parsed filter, and their tags.
_LIST_TAGS = {ldap3_search.AND: wire.AND, ldap3_search.OR: wire.OR, ldap3_search.NOT: wire.NOT}
_VALUE_TAGS = {
    ldap3_search.MATCH_EQUAL: wire.EQUALITY,
    ldap3_search.MATCH_GREATER_OR_EQUAL: wire.AT_LEAST,
    ldap3_search.MATCH_LESS_OR_EQUAL: wire.AT_MOST,
    ldap3_search.MATCH_APPROX: wire.APPROX,
}


class User(NamedTuple):
    """Who is asked about.

    Attributes:
        name: The unescaped local part.
        domain: The virtual host, in lower case.
    """

    name: str
    domain: str


class UnknownPlaceholder(ValueError):
    """A template has something in braces that stands for nothing."""


class Template:
    """A text of the configuration with `{user}`, `{domain}` and `{dc}` in it.

    Args:
        text: The text.
        unescape: Resolves the escapes in what is not a placeholder; a brace that was escaped begins none.

    Attributes:
        is_name: Whether it is `{user}` and nothing else, as nearly always.

    Raises:
        UnknownPlaceholder: Another placeholder is in it.
    """

    __slots__ = ("_format", "_names", "is_name")

    def __init__(self, text: str, unescape: Callable[[str], str] = str) -> None:
        pieces = _PLACEHOLDER.split(text)
        self._names = pieces[1::2]
        for name in self._names:
            if name not in ("user", "domain", "dc"):
                raise UnknownPlaceholder(f"unknown placeholder {{{name}}}: there are {{user}}, {{domain}} and {{dc}}")
        literals = [unescape(piece).replace("%", "%%") for piece in pieces[::2]]
        self._format = literals[0] + "".join(
            f"%({name})s{literal}" for name, literal in zip(self._names, literals[1:], strict=True)
        )
        self.is_name = self._format == "%(user)s"

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def constant(self) -> bool:
        """Whether the text is the same for every user."""
        return not self._names

    def fill(self, user: User, escape: Callable[[str], str] = str) -> str:
        """The text for a user, each value but the DN `{dc}` passed through `escape`."""
        values = {"user": escape(user.name), "domain": escape(user.domain)}
        if "dc" in self._names:
            values["dc"] = _domain_components(user.domain)
        return self._format % values


def _domain_components(domain: str) -> str:
    """The DN of a domain, `dc=example,dc=com`. Source: RFC 2247."""
    return ",".join(f"dc={escape_dn_value(label)}" for label in domain.split("."))


def escape_dn_value(value: str) -> str:
    r"""An attribute value as it may stand in a DN: every byte but letters, digits, `.`, `_`, `@` and `-` as `\xx`.

    Source: RFC 4514 2.4, which allows this form for any byte, wherever it stands.
    """
    return "".join(
        chr(byte) if _PLAIN.match(bytes((byte,))) else f"\\{byte:02x}"
        for byte in value.encode("utf-8", "surrogatepass")
    )


class DnTemplate:
    """A DN of the configuration, such as `uid={user},ou=people,dc=example,dc=com`.

    Raises:
        ValueError: It is no DN, or has an unknown placeholder.
    """

    def __init__(self, text: str) -> None:
        text = re.sub(
            r"(?<!\\), +", ",", text
        )  # as many write it, and RFC 1779 did; ldap3's parser knows RFC 4514 only
        self._template = Template(text)
        try:
            self._components = parse_dn(text.replace("{dc}", "dc={domain}")) if text else []
        except LDAPExceptionError:
            raise ValueError("is not a DN") from None

    def __contains__(self, name: str) -> bool:
        return name in self._template

    @property
    def constant(self) -> bool:
        """Whether the DN is the same for every user."""
        return self._template.constant

    def fill(self, user: User) -> str:
        """The DN for a user."""
        return self._template.fill(user, escape_dn_value)

    def naming(self) -> list[tuple[str, Template]]:
        """The attributes of the DN whose value names the user, with the value's template."""
        return [(name, Template(value, _unescaped)) for name, value, _ in self._components if "{user}" in value]


def _unescaped(value: str) -> str:
    """The value that stands in a DN as this text. Source: RFC 4514 2.4."""
    octets = re.sub(rb"\\(?:([0-9a-fA-F]{2})|(.))", _octet, value.encode(), flags=re.DOTALL)
    return octets.decode("utf-8", "replace")


def _octet(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode()) if match[1] else match[2]


class _Value:
    """An octet string of a filter that is filled with the user's name."""

    def __init__(self, tag: int, template: Template) -> None:
        self._tag = tag
        self._template = template

    def encode(self, user: User) -> bytes:
        return wire.tlv(self._tag, self._template.fill(user).encode("utf-8", "surrogatepass"))


class _Node:
    """A part of a filter in which something is filled in: in one place as a rule, between what is always the same."""

    def __init__(self, tag: int, parts: "list[_Part]") -> None:
        self._tag = tag
        first = next(index for index, part in enumerate(parts) if not isinstance(part, bytes))
        self._before = b"".join(part for part in parts[:first] if isinstance(part, bytes))
        self._part = parts[first]
        self._after = parts[first + 1 :]

    def encode(self, user: User) -> bytes:
        content = self._before + _encoded(self._part, user)
        for part in self._after:
            content += _encoded(part, user)
        return wire.tlv(self._tag, content)


_Part = bytes | _Node | _Value


def _encoded(part: _Part, user: User) -> bytes:
    return part if isinstance(part, bytes) else part.encode(user)


def _node(tag: int, parts: list[_Part]) -> _Part:
    """A node, encoded at once if nothing in it depends on the user."""
    if all(isinstance(part, bytes) for part in parts):
        return wire.tlv(tag, b"".join(part for part in parts if isinstance(part, bytes)))
    return _Node(tag, parts)


class FilterTemplate:
    """A search filter of the configuration (RFC 4515) with `{user}` in it, parsed once by ldap3's parser.

    Args:
        text: The filter.
        needs_user: Whether it must look for the user.

    Attributes:
        naming: The attributes by which the filter looks for the user, with what their value must be: its equality items
            that name `{user}` and are not negated.
        attributes: The names of all attributes that it compares, each once, apart from negated ones: what is found may
            well lack those.

    Raises:
        ValueError: It does not parse, has an unknown placeholder, or does not look for `{user}` by equality.
    """

    def __init__(self, text: str, *, needs_user: bool = True) -> None:
        self.naming: list[tuple[str, Template]] = []
        self.attributes: list[str] = []
        self._around: dict[int, list[bytes]] = {}
        try:
            root = ldap3_search.parse_filter(
                text, None, auto_escape=False, auto_encode=False, validator=None, check_names=False
            )
            tree = root.elements[0]
        except (
            LDAPExceptionError,
            AttributeError,
            IndexError,
        ):  # the last two: what the parser does at some misplaced parentheses
            raise ValueError("is not a search filter (RFC 4515)") from None
        self._root = self._compile(tree, negated=False)
        if self.naming:
            self._first = self.naming[0][0].encode(), self.naming[0][1]
        elif needs_user:
            raise ValueError("nowhere asks that an attribute be equal to {user}, as in (uid={user})")
        self._only_user = set(_PLACEHOLDER.findall(text)) == {"user"}

    def encode(self, user: User) -> bytes:
        """The filter for a user, as it stands in a search request."""
        value = user.name.encode("utf-8", "surrogatepass")
        around = self._around.get(len(value))
        if around:
            return value.join(around)
        encoded = _encoded(self._root, user)
        if self._only_user and value:
            self._learn(value, encoded)
        return encoded

    def _learn(self, value: bytes, encoded: bytes) -> None:
        """Remembers what stands around a name: it is the same for every name of as many bytes.

        It is what is left of the filter for a name of NULs, which no user has, if that can be told.
        """
        nobody = User("\0" * len(value), "")
        around = _encoded(self._root, nobody).split(nobody.name.encode())
        if value.join(around) == encoded and b"\0" not in value:
            self._around[len(value)] = around

    def sole_attribute(self, user: User) -> tuple[bytes, bytes] | None:
        """The attribute that is looked for first, and the name in it of an entry that is this user's beyond doubt.

        None where an entry needs a closer look, see `is_named`.
        """
        if not unicodedata.is_normalized("NFKC", user.name):
            return None
        attribute, template = self._first
        value = user.name if template.is_name else template.fill(user)
        return attribute, value.encode("utf-8", "surrogatepass")

    def _compile(self, node: ldap3_search.FilterNode, *, negated: bool) -> _Part:
        """One node of ldap3's tree. Source: RFC 4511 4.5.1.7."""
        if node.tag in _LIST_TAGS:
            negated = negated or node.tag == ldap3_search.NOT
            if not node.elements or (node.tag == ldap3_search.NOT and len(node.elements) > 1):
                raise ValueError("is not a search filter (RFC 4515): a list that is empty, or has no room for so much")
            return _node(_LIST_TAGS[node.tag], [self._compile(element, negated=negated) for element in node.elements])
        attribute = node.assertion["attr"]
        for name in (attribute, node.assertion.get("matchingRule")):
            if isinstance(name, str) and not re.fullmatch(r"[A-Za-z0-9.;-]+", name):
                raise ValueError("is not a search filter (RFC 4515): the name of an attribute or rule is not one")
        if attribute and not negated and attribute not in self.attributes:
            self.attributes.append(attribute)
        if node.tag == ldap3_search.MATCH_PRESENT:
            return wire.tlv(wire.PRESENT, attribute.encode())
        if node.tag == ldap3_search.MATCH_SUBSTRING:
            return self._substrings(node.assertion)
        if node.tag == ldap3_search.MATCH_EXTENSIBLE:
            return self._extensible(node.assertion)
        value = node.assertion["value"]
        if node.tag == ldap3_search.MATCH_EQUAL and not negated and b"{user}" in value:
            self.naming.append((attribute, _template(value)))
        return _node(_VALUE_TAGS[node.tag], [wire.tlv(0x04, attribute.encode()), _value(0x04, value)])

    def _substrings(self, assertion: dict[str, Any]) -> _Part:
        parts: list[_Part] = []
        for tag, key in ((0x80, "initial"), (0x81, "any"), (0x82, "final")):
            values = assertion.get(key, [])
            parts += [_value(tag, value) for value in (values if isinstance(values, list) else [values])]
        if not parts:
            raise ValueError("is not a search filter (RFC 4515): nothing but asterisks")
        name = str(assertion["attr"]).encode()
        return _node(wire.SUBSTRINGS, [wire.tlv(0x04, name), _node(0x30, parts)])

    def _extensible(self, assertion: dict[str, Any]) -> _Part:
        parts: list[_Part] = []
        for tag, key in ((0x81, "matchingRule"), (0x82, "attr")):
            if assertion[key]:
                parts.append(wire.tlv(tag, str(assertion[key]).encode()))
        parts.append(_value(0x83, assertion["value"]))
        if assertion["dnAttributes"]:
            parts.append(b"\x84\x01\xff")
        return _node(wire.EXTENSIBLE, parts)


def timed_filter(text: str, moment: float) -> FilterTemplate:
    """A filter of the configuration in which `{now}` and `{filetime}` are a moment, given in seconds since 1970.

    `{now}` is written as in most directories, `{filetime}` as in Active Directory: units of 100 ns since 1601. Source:
    RFC 4517 3.3.13, [MS-DTYP] 2.3.3.

    Raises:
        ValueError: See `FilterTemplate`; it need not look for `{user}`.
    """
    now = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(moment))
    filetime = str(int((moment + _SINCE_1601) * 10**7))
    try:
        return FilterTemplate(text.replace("{now}", now).replace("{filetime}", filetime), needs_user=False)
    except UnknownPlaceholder as error:
        raise ValueError(f"{error}, {{now}} and {{filetime}}") from None


def _value(tag: int, escaped: bytes) -> _Part:
    r"""An assertion value, of which ldap3's parser leaves the `\xx` escapes to be resolved here."""
    if _PLACEHOLDER.search(escaped.decode("latin-1")):
        return _Value(tag, _template(escaped))
    return wire.tlv(tag, prepare_filter_for_sending(escaped))


def _template(escaped: bytes) -> Template:
    """The template of an assertion value."""
    try:
        return Template(escaped.decode(), lambda text: str(prepare_filter_for_sending(text), "utf-8"))
    except UnicodeDecodeError:
        raise ValueError("a value with a placeholder in it is not UTF-8") from None


def is_named(user: User, naming: Sequence[tuple[str, Template]], entry: wire.Entry) -> bool:
    r"""Whether an entry's own values say that it is this user's, and not one that only matches.

    Directories compare more loosely than XMPP does: outer and doubled spaces, accents and compatibility characters may
    not count, so `juliet\20` would log in as juliet, under a second account. Only case may differ; what is stored is
    brought to the form (NFKC) in which XMPP servers send a name.

    The entry must hold just what was asked for: servers may return an attribute under another name than the filter's.
    """
    if not unicodedata.is_normalized("NFKC", user.name):
        return False
    exact = naming[0][1].fill(user).encode("utf-8", "surrogatepass")
    for values in entry.attributes.values():
        if exact in values:
            return True
    return _is_alike([template.fill(user) for _, template in naming], entry)


def _is_alike(wanted: list[str], entry: wire.Entry) -> bool:
    """Whether one of the entry's values is one of the names, but for case and its Unicode form."""
    # No form of a name is longer than this, and to normalize what a user may have written there can take minutes.
    longest = 4 * max(len(name.encode("utf-8", "surrogatepass")) for name in wanted)
    lowered = [name.lower() for name in wanted]
    for value in itertools.chain(*entry.attributes.values()):
        with contextlib.suppress(UnicodeDecodeError):
            if len(value) <= longest and unicodedata.normalize("NFKC", value.decode()).lower() in lowered:
                return True
    return False


_MAPPED_TO_NOTHING = re.compile("[\u034f\u1806\u180b-\u180d\ufe00-\ufe0f\ufffc\U000e0100-\U000e01ef]")
"""What RFC 4518 2.2 leaves out of a name although it is printable, and the later variation selectors."""


def is_prepared(name: str) -> bool:
    """Whether the name is as RFC 4518 has it prepared, case apart: no other spelling of somebody's name.

    For where a bind comes before any look at the entry. Refuses outer and doubled spaces (2.6.1), what is mapped to
    nothing or to a space (2.2), and what is not in normal form (2.3).
    """
    return (
        name == " ".join(name.split())
        and name.isprintable()
        and unicodedata.is_normalized("NFKC", name)
        and not _MAPPED_TO_NOTHING.search(name)
    )


def is_canonical(name: str) -> bool:
    """Whether no directory takes the name for another one's, case apart; for where no entry can be read to compare.

    Marks above and below letters are refused too, though many languages need them: some directories do not count them.
    """
    return is_prepared(name) and not any(unicodedata.category(character) == "Mn" for character in name + name.lower())
