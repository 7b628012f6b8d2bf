r"""Names into filters and DNs, and back: whatever a name holds, it stays a name, and only its owner is it."""

import re
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ldap3.protocol.rfc4511 import Filter
from ldap3.utils.asn1 import decoder
from ldap3.utils.dn import parse_dn

from ldapauth.directory import wire
from ldapauth.directory.query import (
    DnTemplate,
    FilterTemplate,
    Template,
    User,
    escape_dn_value,
    is_canonical,
    is_named,
    is_prepared,
    timed_filter,
)

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For whatever runs on a busy machine: that it takes long is no failure."""

DOMAIN = "example.com"

HOSTILE = {
    "wildcard": "*",
    "wildcard behind": "jul*",
    "end of an item": ")(",
    "second item": ")(uid=*",
    "or": ")(uid=*))(|(uid=*",
    "not": ")(!(uid=x",
    "comment of another language": "juliet))%00",
    "backslash": "\\",
    "backslash behind": "juliet\\",
    "escaped wildcard": "\\2a",
    "half an escape": "\\2",
    "NUL": "\0",
    "NUL within": "jul\0iet",
    "comma": "juliet,ou=admins",
    "RDN": "juliet,dc=example,dc=com",
    "plus": "juliet+cn=admin",
    "quote": '"',
    "quoted": '"juliet"',
    "semicolon": "juliet;dc=com",
    "less": "<",
    "greater": ">",
    "equals": "=",
    "assertion": "juliet=admin",
    "sharp": "#",
    "leading sharp": "#04024869",
    "leading space": " juliet",
    "trailing space": "juliet ",
    "only a space": " ",
    "line break": "juliet\nuid: admin",
    "delete": "\x7f",
    "placeholder": "{user}",
    "other placeholder": "{domain}",
    "unknown placeholder": "{x}",
    "braces": "}{",
    "format string": "%s{0}",
    "Cyrillic look-alikes": "\u0458uli\u0435t",
    "full width": "\uff0a\uff09\uff08\uff3c\uff0c",
    "look-alike operators": "\u2217\uff08uid\uff1d\uff0a\uff09",
    "division slash": "a\u2215b",
    "right to left": "\u202etpecca",
    "combining": "e\u0301",
    "beyond the BMP": "\U0001f339",
    "longest": "x" * 1023,
    "longest of escapes": "*" * 1023,
}
EACH_HOSTILE = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)

names = st.one_of(st.text(min_size=1), st.text(st.sampled_from('*()\\\0,+"#;<>= {}userdomain'), min_size=1))


# Filters

Tree = tuple[int, "bytes | list[Tree]"]


def tree(data: bytes) -> list[Tree]:
    """What BER says: each element's tag, and its content or, if it is constructed, its elements."""
    elements: list[Tree] = []
    while data:
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        content, data = data[start : start + length], data[start + length :]
        assert len(content) == length
        elements.append((tag, tree(content) if tag & 0x20 else content))
    return elements


def replaced(elements: list[Tree], values: dict[bytes, bytes]) -> list[Tree]:
    """The elements with some bytes in their contents replaced by others."""
    return [
        (tag, replaced(content, values) if isinstance(content, list) else _replaced(content, values))
        for tag, content in elements
    ]


def _replaced(content: bytes, values: dict[bytes, bytes]) -> bytes:
    for old, new in values.items():
        content = content.replace(old, new)
    return content


# Names that stand for the real ones in the structure that a filter must have; nothing else in a filter is like them.
STAND_IN = User("NAME", "REALM")

FILTERS = [
    "(uid={user})",
    "(&(objectClass=person)(uid={user}))",
    "(|(uid={user})(mail={user}@{domain}))",
    "(&(uid={user})(!(cn={user})))",
    "(&(uid={user})(cn=*{user}*{domain}*)(sn={user}*)(sn=*{user}))",
    "(&(uid={user})(cn:caseExactMatch:={user})(cn>={user})(cn<={user})(cn~={user}))",
    "(uid=prefix-{user}-suffix)",
]


@EACH_HOSTILE
@pytest.mark.parametrize("template", FILTERS)
def test_a_name_does_not_change_a_filter(template: str, name: str) -> None:
    """Whatever is in a name, the filter keeps its template's structure and has the name's very bytes as the value."""
    parsed = FilterTemplate(template)
    expected = replaced(tree(parsed.encode(STAND_IN)), {b"NAME": name.encode(), b"REALM": DOMAIN.encode()})
    assert tree(parsed.encode(User(name, DOMAIN))) == expected


@EACH_HOSTILE
def test_a_domain_does_not_change_a_filter(name: str) -> None:
    """Whatever is in a domain, it is a value like the name."""
    encoded = FilterTemplate("(&(uid={user})(ou={domain}))").encode(User("juliet", name))
    assert tree(encoded) == [
        (0xA0, [(0xA3, [(4, b"uid"), (4, b"juliet")]), (0xA3, [(4, b"ou"), (4, name.encode())])]),
    ]


@EACH_HOSTILE
def test_ldap3_sees_one_equality(name: str) -> None:
    """A filter with a hostile name is, as ldap3's own specification decodes it, the one equality of its template."""
    decoded, rest = decoder.decode(FilterTemplate("(uid={user})").encode(User(name, DOMAIN)), asn1Spec=Filter())
    assert not rest
    assert decoded.getName() == "equalityMatch"
    assert bytes(decoded["equalityMatch"]["attributeDesc"]) == b"uid"
    assert bytes(decoded["equalityMatch"]["assertionValue"]) == name.encode()


@UNTIMED
@given(st.sampled_from(FILTERS), names, names)
def test_no_name_changes_a_filter(template: str, name: str, domain: str) -> None:
    """Any name and domain in any template leave its structure alone and come in as they are."""
    parsed = FilterTemplate(template)
    domain_stand_in = User(STAND_IN.name, domain)
    with_domain = replaced(tree(parsed.encode(STAND_IN)), {b"REALM": domain.encode()})
    assert tree(parsed.encode(domain_stand_in)) == with_domain
    with_name = replaced(tree(parsed.encode(User(name, STAND_IN.domain))), {b"REALM": STAND_IN.domain.encode()})
    assert with_name == replaced(tree(parsed.encode(STAND_IN)), {b"NAME": name.encode()})


@pytest.mark.parametrize(
    ("template", "naming"),
    [
        ("(uid={user})", ["uid"]),
        ("(&(uid={user})(objectClass=person))", ["uid"]),
        ("(|(uid={user})(mail={user}@{domain}))", ["uid", "mail"]),
        ("(&(uid={user})(!(mail={user})))", ["uid"]),
        ("(&(uid={user})(!(|(mail={user})(cn={user}))))", ["uid"]),
        ("(&(uid={user})(ou={domain}))", ["uid"]),
        ("(&(uid={user})(cn={user}*)(sn>={user})(sn~={user})(cn:={user}))", ["uid"]),
    ],
)
def test_what_names_the_user(template: str, naming: list[str]) -> None:
    """Only the equality items with the name that are not negated say which attributes name the user."""
    assert [attribute for attribute, _ in FilterTemplate(template).naming] == naming


NOT_FILTERS = [
    "",
    "uid={user}",
    "(uid={user}",
    "uid={user})",
    "()",
    "(&)",
    "(|)",
    "(!)",
    "(&(uid={user})(&))",
    "(&(uid={user})())",
    "((uid={user}))",
    "(uid={user})(cn=x)",
    "(uid={user}))((x=y)",
    "(uid={user})))(((x=y)",
    "(&(uid={user}))(|(x=y))",
    "(&(uid={user})))(|(x=y)",
    "(&(uid={user})(cn=x)",
    "(uid={user})x",
    "x(uid={user})",
    "(uid)",
    "(={user})",
    "({user}=x)",
    "({domain}={user})",
    "(u d={user})",
    "(ü={user})",
    "(&(uid={user})(:=x))",
    "(&(uid={user})(a:b:c:d:=x))",
    "(!(uid={user})(cn=x))",
    "(&(uid={user})(!(cn=x)(sn=y)))",
    "(&(uid={user})(!(cn=x)(&(sn=y)(ou=z))))",
    "(&(uid={user})(!(&(sn=y))(|(ou=z))))",
    "(&(uid={user})(cn=**))",
    "(&(uid={user})(cn:{user}:=x))",
]


@pytest.mark.parametrize("text", NOT_FILTERS)
def test_what_is_no_filter_is_refused(text: str) -> None:
    """A text that RFC 4515 has no meaning for is an error when the template is made, and not at each login."""
    with pytest.raises(ValueError, match="is not a search filter"):
        FilterTemplate(text)


@pytest.mark.parametrize(
    "text", ["(uid={usr})", "(uid={})", "(uid={User})", "(uid={user}{0})", "(&(uid={user})(cn={x}*))"]
)
def test_a_filter_with_an_unknown_placeholder_is_refused(text: str) -> None:
    """A placeholder that is neither the user nor the domain is an error when the template is made."""
    with pytest.raises(ValueError, match="unknown placeholder"):
        FilterTemplate(text)


@pytest.mark.parametrize(
    "text",
    [
        "(uid=juliet)",
        "(uid=*)",
        "(uid={domain})",
        "(!(uid={user}))",
        "(!(!(uid={user})))",
        "(&(objectClass=person)(!(|(uid={user})(cn=x))))",
        "(uid={user}*)",
        "(uid=*{user}*)",
        "(uid>={user})",
        "(uid~={user})",
        "(uid:={user})",
        "(uid:dn:2.5.13.5:={user})",
    ],
)
def test_a_filter_must_ask_for_the_user_by_equality(text: str) -> None:
    """A filter that asks nowhere for an attribute to be equal to the name could let anybody be anybody."""
    with pytest.raises(ValueError, match=r"equal to \{user\}"):
        FilterTemplate(text)


def test_a_filter_of_a_moment() -> None:
    """A filter may have the time in it, as most directories write it and as Active Directory counts it."""
    moment = 1_795_730_400  # 2026-11-26 22:00 UTC
    timed = timed_filter("(|(pwdEndTime<={now})(accountExpires<={filetime}))", moment)
    plain = FilterTemplate("(|(pwdEndTime<=20261126220000Z)(accountExpires<=134402040000000000))", needs_user=False)
    assert timed.encode(User("juliet", DOMAIN)) == plain.encode(User("juliet", DOMAIN))
    with pytest.raises(ValueError, match="is not a search filter"):
        timed_filter("(pwdEndTime<={now}", moment)


def test_a_value_with_a_placeholder_is_text() -> None:
    """Bytes that are not UTF-8 can't stand beside a placeholder."""
    with pytest.raises(ValueError, match="UTF-8"):
        FilterTemplate(r"(uid={user}\ff)")


@UNTIMED
@given(st.text(st.one_of(st.sampled_from("()&|!=*\\:<>~ {}userdnab01\0"), st.characters(codec="utf-8"))))
def test_any_text_is_a_filter_or_a_value_error(text: str) -> None:
    """Any text makes a filter that can be encoded, or ValueError."""
    for candidate in (text, f"(&(uid={{user}}){text})"):
        try:
            parsed = FilterTemplate(candidate)
        except ValueError:
            continue
        assert len(tree(parsed.encode(User("juliet", DOMAIN)))) == 1


# DNs


def unescaped(value: str) -> bytes:
    r"""The bytes of a value that stands in a DN as this text (RFC 4514 2.4)."""
    octets, position = bytearray(), 0
    raw = value.encode()
    while position < len(raw):
        if raw[position : position + 1] != b"\\":
            octets += raw[position : position + 1]
            position += 1
        elif re.match(rb"[0-9a-fA-F]{2}", raw[position + 1 : position + 3]):
            octets.append(int(raw[position + 1 : position + 3], 16))
            position += 3
        else:
            octets += raw[position + 1 : position + 2]
            position += 2
    return bytes(octets)


def rdns(dn: str) -> list[tuple[str, bytes, str]]:
    """The attributes, values and separators of a DN, by ldap3's parser."""
    return [(name, unescaped(value), separator) for name, value, separator in parse_dn(dn)]


DNS = [
    "uid={user},ou=people,dc=example,dc=com",
    "uid={user}+ou={domain},dc=example,dc=com",
    "cn={user} of {domain},dc=example,dc=com",
    r"cn=a\,b {user}\20,ou=\c3\bc\+,dc=example,dc=com",
    "mail={user}@{domain}",
]
EACH_DN = pytest.mark.parametrize("template", DNS)


@EACH_HOSTILE
@EACH_DN
def test_a_name_does_not_change_a_dn(template: str, name: str) -> None:
    """Whatever is in a name, the DN keeps its template's RDNs and has the name's very bytes in its values."""
    filled = DnTemplate(template).fill(User(name, DOMAIN))
    assert rdns(filled) == _expected_rdns(template, name, DOMAIN)


@EACH_HOSTILE
def test_a_domain_does_not_change_a_dn(name: str) -> None:
    """Whatever is in a domain, it is a value like the name."""
    filled = DnTemplate("uid={user},ou={domain},dc=com").fill(User("juliet", name))
    assert rdns(filled) == [("uid", b"juliet", ","), ("ou", name.encode(), ","), ("dc", b"com", "")]


@UNTIMED
@given(st.sampled_from(DNS), names, names)
def test_no_name_changes_a_dn(template: str, name: str, domain: str) -> None:
    """Any name and domain in any template leave its RDNs alone and come in as they are."""
    assert rdns(DnTemplate(template).fill(User(name, domain))) == _expected_rdns(template, name, domain)


def _expected_rdns(template: str, name: str, domain: str) -> list[tuple[str, bytes, str]]:
    expected = []
    for attribute, value, separator in rdns(DnTemplate(template).fill(STAND_IN)):
        before, *rest = re.split(rb"(NAME|REALM)", value)
        filled = [{b"NAME": name.encode(), b"REALM": domain.encode()}.get(piece, piece) for piece in rest]
        expected.append((attribute, b"".join([before, *filled]), separator))
    return expected


@UNTIMED
@given(st.text())
def test_an_escaped_value_is_plain(value: str) -> None:
    """An escaped value is ASCII without any character that means something in a DN, and means the same bytes."""
    escaped = escape_dn_value(value)
    assert re.fullmatch(r"(?:[A-Za-z0-9._@-]|\\[0-9a-f]{2})*", escaped)
    assert unescaped(escaped) == value.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{user}",
        "{user}@example.com",
        "EXAMPLE\\{user}",
        "uid={user},",
        "uid={user},,dc=com",
        ",uid={user}",
        "uid=",
        "=x",
        "{user}=x",
        "uid,dc={user}",
        'uid="{user}",dc=com',
        "uid={user};dc=com",
        "uid={user},dc=com\\",
        "uid=\\{user},dc=com",
        "uid=\\a{user},dc=com",
        "uid= {user},dc=com",
        "uid={user}\0",
        "ü={user}",
    ],
)
def test_what_is_no_dn_is_refused(text: str) -> None:
    """A text that is no DN is an error when the template is made, and not at each login."""
    with pytest.raises(ValueError, match="is not a DN"):
        DnTemplate(text)


@pytest.mark.parametrize("text", ["uid={usr},dc=com", "uid={},dc=com", "uid={us,er}", "uid={user},ou={Domain}"])
def test_a_dn_with_an_unknown_placeholder_is_refused(text: str) -> None:
    """A placeholder that is neither the user nor the domain is an error when the template is made."""
    with pytest.raises(ValueError, match="unknown placeholder"):
        DnTemplate(text)


@UNTIMED
@given(st.text(st.one_of(st.sampled_from('=,+\\"#;<> {}userdn01\0'), st.characters(codec="utf-8"))))
def test_any_text_is_a_dn_or_a_value_error(text: str) -> None:
    """Any text makes a DN that can be filled and says what names the user, or ValueError at once."""
    for candidate in (text, f"uid={{user}}{text}", f"uid={{user}},{text}"):
        try:
            parsed = DnTemplate(candidate)
        except ValueError:
            continue
        parsed.naming()
        parsed.fill(User("juliet", DOMAIN))


def filled_naming(template: DnTemplate | FilterTemplate, user: User) -> list[tuple[str, str]]:
    """The attributes that name a user, and the values that they must have."""
    naming = template.naming() if isinstance(template, DnTemplate) else template.naming
    return [(attribute, value.fill(user)) for attribute, value in naming]


@pytest.mark.parametrize(
    ("template", "naming"),
    [
        ("uid={user},dc=com", [("uid", "juliet")]),
        ("uid={user}+ou={domain},dc=com", [("uid", "juliet")]),
        ("mail={user}@{domain},ou={user},dc=com", [("mail", "juliet@example.com"), ("ou", "juliet")]),
        (r"cn=\4a.\20{user}\,\c3\bc,dc=com", [("cn", "J. juliet,ü")]),
        ("dc={domain},dc=com", []),
        (r"uid={user}\7bx\7d,dc=com", [("uid", "juliet{x}")]),
        (r"uid={user}\7bdomain\7d,dc=com", [("uid", "juliet{domain}")]),
        ("", []),
    ],
)
def test_what_of_a_dn_names_the_user(template: str, naming: list[tuple[str, str]]) -> None:
    """The values of a DN with the name in them, their escapes resolved, say which attributes name the user."""
    assert filled_naming(DnTemplate(template), User("juliet", DOMAIN)) == naming


@pytest.mark.parametrize(
    ("text", "constant"),
    [("", True), ("dc=example,dc=com", True), ("ou={domain},dc=com", False), ("uid={user}", False)],
    ids=["empty", "no placeholder", "domain", "user"],
)
def test_constant(text: str, *, constant: bool) -> None:
    """A template is constant if it has no placeholder."""
    assert DnTemplate(text).constant is constant
    assert Template(text).constant is constant


# Templates


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{user}", "juliet"),
        ("{user}{user}", "julietjuliet"),
        ("{user}@{domain}", "juliet@example.com"),
        ("a{user}b{domain}c", "ajulietbexample.comc"),
        ("{{user}}", "{juliet}"),
        ("{user", "{user"),
        ("user}", "user}"),
        ("}{user}{", "}juliet{"),
    ],
)
def test_templates_are_filled(text: str, filled: str) -> None:
    """Each placeholder is replaced by its value, and everything else stays."""
    assert Template(text).fill(User("juliet", DOMAIN)) == filled


@pytest.mark.parametrize("text", ["{}", "{ user }", "{usr}", "{User}", "{user.name}", "{user!r}", "{0}", "{user}{x}"])
def test_templates_with_unknown_placeholders(text: str) -> None:
    """A placeholder that is neither the user nor the domain is an error."""
    with pytest.raises(ValueError, match="unknown placeholder"):
        Template(text)


@UNTIMED
@given(names, names)
def test_values_are_not_templates(name: str, domain: str) -> None:
    """What was filled in is not filled in again."""
    assert Template("{user}|{domain}|{user}").fill(User(name, domain)) == f"{name}|{domain}|{name}"


# Whose entry it is


def named(name: str, *stored: str | bytes, template: str = "(uid={user})", attribute: str = "uid") -> bool:
    """Whether an entry with these values is a user's, by the naming of a filter."""
    values = [value.encode() if isinstance(value, str) else value for value in stored]
    entry = wire.Entry(1, "uid=x,dc=example,dc=com", {attribute: values})
    return is_named(User(name, DOMAIN), FilterTemplate(template).naming, entry)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("juliet", "juliet"),
        ("juliet", "Juliet"),
        ("juliet", "JULIET"),
        ("Juliet", "juliet"),
        ("d'artagnan", "D'Artagnan"),
        ("j doe", "J Doe"),
        ("юлия", "Юлия"),
        ("andré", "Andre\u0301"),
        ("andré", "André"),
        ("office", "o\ufb03ce"),
        ("juliet", "\uff2auliet"),
        ("i\u0307stanbul", "İstanbul"),
        ("straße", "Straße"),
        ("k", "\u212a"),
        ("*", "*"),
        (" juliet", " juliet"),
    ],
    ids=ascii,
)
def test_names_that_are_the_user_s(name: str, stored: str) -> None:
    """A stored value is the user's if it differs in nothing but case, once it is in the form that XMPP sends."""
    assert named(name, stored)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("juliet ", "juliet"),
        (" juliet", "juliet"),
        ("juliet", "juliet "),
        ("j  doe", "j doe"),
        ("j doe", "j  doe"),
        ("jdoe", "j doe"),
        ("andre", "André"),
        ("andré", "Andre"),
        ("o\ufb03ce", "office"),
        ("o\ufb03ce", "o\ufb03ce"),
        ("\uff2auliet", "juliet"),
        ("andre\u0301", "andré"),
        ("juliet\u00ad", "juliet"),
        ("juliet\u200b", "juliet"),
        ("juliet\ufffc", "juliet"),
        ("strasse", "straße"),
        ("straße", "strasse"),
        ("istanbul", "İstanbul"),
        ("istanbul", "\u0131stanbul"),
        ("juli\u0435t", "juliet"),
        ("*", "juliet"),
        ("juliet", "juliet@example.com"),
        ("juliet", ""),
        ("juliet", b"juliet\xff"),
        ("juliet", b"\xff\xfej\0u\0"),
        ("é", b"\xe9"),
        ("\ufffd", b"\xff"),
    ],
    ids=ascii,
)
def test_names_that_are_somebody_else_s(name: str, stored: str | bytes) -> None:
    """A stored value that a directory may take for the name, and that differs in more than case, is not the user's."""
    assert not named(name, stored)


def test_one_of_several_values_is_enough() -> None:
    """An entry is the user's if any value of the naming attribute is the name, whatever the others are."""
    assert named("juliet", b"\xff", "capulet", "Juliet")
    assert not named("juliet", b"\xff", "capulet", "romeo")


def test_an_entry_without_values_is_nobody_s() -> None:
    """An entry whose naming attribute did not come, or has no values, is not the user's."""
    assert not named("juliet")
    assert not is_named(User("juliet", DOMAIN), FilterTemplate("(uid={user})").naming, wire.Entry(1, "uid=juliet", {}))


@pytest.mark.parametrize("attribute", ["uid", "UID", "userid", "0.9.2342.19200300.100.1.1", "uid;lang-en"])
def test_the_attribute_may_come_under_another_name(attribute: str) -> None:
    """A server may return the attribute under an alias, its OID, in other case or with options."""
    assert named("juliet", "juliet", attribute=attribute)


SEVERAL = "(|(uid={user})(mail={user}@{domain})(cn={domain} {user}))"


@pytest.mark.parametrize(
    ("attribute", "stored", "expected"),
    [
        ("uid", "juliet", True),
        ("mail", "juliet@example.com", True),
        ("mail", "Juliet@Example.COM", True),
        ("cn", "example.com juliet", True),
        ("mail", "juliet@example.net", False),
        ("mail", "juliet @example.com", False),
        ("mail", "romeo@example.com", False),
        ("cn", "juliet example.com", False),
    ],
)
def test_several_naming_attributes(attribute: str, stored: str, *, expected: bool) -> None:
    """Where several attributes name the user, one that has its template's value is enough."""
    assert named("juliet", stored, template=SEVERAL, attribute=attribute) is expected


@UNTIMED
@given(names, st.text())
def test_only_case_may_differ(name: str, stored: str) -> None:
    """No value is the user's whose normal form has another lower-case form than the name."""
    if named(name, stored):
        assert unicodedata.normalize("NFKC", stored).lower() == name.lower()


# Names that no directory takes for another's


@pytest.mark.parametrize(
    "name",
    ["juliet", "Juliet", "j.doe", "j doe", "d'artagnan", "a*b", "юлия", "andré", "山田", "a-b_c@d", "\U0001f339"],
)
def test_canonical_names(name: str) -> None:
    """A name in normal form, of visible characters with single spaces between them, is nobody else's."""
    assert is_canonical(name)


@pytest.mark.parametrize(
    "name",
    [
        " juliet",
        "juliet ",
        "j  doe",
        " ",
        "j\tdoe",
        "j\u00a0doe",
        "j\u2003doe",
        "j\u3000doe",
        "j\u2028doe",
        "juliet\n",
        "juliet\0",
        "juliet\x7f",
        "juliet\x85",
        "juliet\u00ad",
        "juliet\u034f",
        "juliet\u1806",
        "juliet\u180b",
        "juliet\u200b",
        "juliet\u200d",
        "juliet\u202e",
        "juliet\u2060",
        "juliet\ufe0f",
        "juliet\ufeff",
        "juliet\ufff9",
        "juliet\ufffc",
        "juliet\U0001d173",
        "juliet\U000e0020",
        "juliet\U000e0100",
        "juliet\ue000",
        "juliet\u0378",
        "andre\u0301",
        "q\u0301",
        "o\ufb03ce",
        "\uff4auliet",
        "x\u00b2",
        "\u212a",
        "i\u0307",
    ],
    ids=ascii,
)
def test_names_that_are_not_canonical(name: str) -> None:
    """A name that RFC 4518 maps, normalizes or trims to another one could be another user's."""
    assert not is_canonical(name)


MARKED = ["andre\u0301", "q\u0301", "i\u0307", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e2a\u0e21\u0e28\u0e31\u0e01"]


@pytest.mark.parametrize("name", MARKED[1:2] + MARKED[3:], ids=ascii)
def test_prepared_names_may_have_marks(name: str) -> None:
    """A name of a language that writes vowels as marks may be bound by, and is compared where its entry can be read."""
    assert is_prepared(name)
    assert not is_canonical(name)


@pytest.mark.parametrize(
    "name", ["juliet ", "j  doe", "\uff4auliet", "j\u00aduliet", "j\u034fuliet", "juliet\ufe0f", *MARKED[:1]]
)
def test_other_spellings_are_not_prepared(name: str) -> None:
    """A name that RFC 4518 brings to another form is another spelling of that."""
    assert not is_prepared(name)


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("(uid={user})", ["uid"]),
        ("(&(objectClass=person)(|(uid={user})(mail={user}@{domain}))(uid=*))", ["objectClass", "uid", "mail"]),
        ("(&(uid={user})(!(locked=TRUE))(!(|(a=1)(!(b=2)))))", ["uid"]),
        ("(&(uid={user})(cn=a*b)(memberOf:1.2.3:=cn=x)(:dn:caseExactMatch:=x))", ["uid", "cn", "memberOf"]),
    ],
)
def test_a_filter_knows_its_attributes(text: str, attributes: list[str]) -> None:
    """A filter names the attributes that an entry must show to be found, and not those that it must lack."""
    assert FilterTemplate(text).attributes == attributes
