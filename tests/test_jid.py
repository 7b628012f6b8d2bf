r"""What a local part says: the ten escapes of XEP-0106, and nothing that only looks like one."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldapauth.jid import MAX_NAME, possible, unescape

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For whatever runs on a busy machine: that it takes long is no failure."""

ESCAPED = {
    " ": r"\20",
    '"': r"\22",
    "&": r"\26",
    "'": r"\27",
    "/": r"\2f",
    ":": r"\3a",
    "<": r"\3c",
    ">": r"\3e",
    "@": r"\40",
    "\\": r"\5c",
}


def escape(name: str) -> str:
    """A name as XMPP servers send it; a backslash may always be escaped, though it need not (XEP-0106 4.2)."""
    return "".join(ESCAPED.get(character, character) for character in name)


@pytest.mark.parametrize(("character", "escaped"), ESCAPED.items(), ids=ESCAPED.values())
def test_each_of_the_ten_characters_is_unescaped(character: str, escaped: str) -> None:
    """Each of the ten escapes stands for its character, wherever in the name."""
    assert unescape(escaped) == character
    assert unescape(f"{escaped}a{escaped}{escaped}b{escaped}") == f"{character}a{character * 2}b{character}"


@pytest.mark.parametrize(
    ("local_part", "name"),
    [
        # the table of XEP-0106, section 5
        (r"space\20cadet", "space cadet"),
        (r"call\20me\20\22ishmael\22", 'call me "ishmael"'),
        (r"at\26t\20guy", "at&t guy"),
        (r"d\27artagnan", "d'artagnan"),
        (r"\2f.fanboy", "/.fanboy"),
        (r"\3a\3afoo\3a\3a", "::foo::"),
        (r"\3cfoo\3e", "<foo>"),
        (r"user\40host", "user@host"),
        (r"c\3a\net", r"c:\net"),
        (r"c\3a\\net", r"c:\\net"),
        (r"c\3a\cool\20stuff", r"c:\cool stuff"),
        (r"c\3a\5c5commas", r"c:\5commas"),
    ],
)
def test_the_examples_of_the_specification(local_part: str, name: str) -> None:
    """The examples of XEP-0106 are unescaped as it says."""
    assert unescape(local_part) == name


@pytest.mark.parametrize(
    "local_part",
    [
        "",
        "juliet",
        "\\",
        "juliet\\",
        "\\2",
        r"\2F",
        r"\3A",
        r"\3C",
        r"\3E",
        r"\5C",
        r"\00",
        r"\0a",
        r"\28",
        r"\2a",
        r"\41",
        r"\5d",
        "\\\uff12\uff10",
        "\\ 20",
        r"\x20",
        r"\u0020",
        "%20",
    ],
)
def test_what_is_no_escape_stays(local_part: str) -> None:
    """Upper-case digits, other codes, other digits and lone backslashes are no escapes and stay as they are."""
    assert unescape(local_part) == local_part


@pytest.mark.parametrize(
    ("local_part", "name"),
    [(r"\5c27", r"\27"), (r"\5c5c", r"\5c"), (r"\5c5c27", r"\5c27"), (r"\\27", r"\'"), (r"\5c\27", r"\'")],
)
def test_what_was_unescaped_is_not_unescaped_again(local_part: str, name: str) -> None:
    """The name is read once from left to right, so that an escaped backslash begins no escape."""
    assert unescape(local_part) == name


@UNTIMED
@given(st.text(st.one_of(st.sampled_from("\\ \"&'/:<>@2057cef"), st.characters())))
def test_unescaping_undoes_escaping(name: str) -> None:
    """Whatever the name, unescaping its escaped form gives it back."""
    assert unescape(escape(name)) == name


@UNTIMED
@given(st.text(st.sampled_from("\\2056acef ")))
def test_the_name_is_never_longer_than_the_local_part(local_part: str) -> None:
    """Unescaping never makes a name longer."""
    assert len(unescape(local_part)) <= len(local_part)


@pytest.mark.parametrize(
    "name",
    ["j", "juliet", "d'artagnan", "a b", " ", "*)(uid=*", "ромео", "a" * MAX_NAME, "é" * (MAX_NAME // 2)],
    ids=["short", "plain", "quote", "space", "only a space", "filter", "Cyrillic", "longest", "longest in UTF-8"],
)
def test_names_that_can_be(name: str) -> None:
    """A name that is neither empty nor too long and has no control character is for the directory to judge."""
    assert possible(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a\u0085b",
        "a" * (MAX_NAME + 1),
        "é" * (MAX_NAME // 2 + 1),
        "a\ud800b",
        *(f"a{chr(code)}b" for code in (*range(32), 127)),
    ],
    ids=ascii,
)
def test_names_that_can_not_be(name: str) -> None:
    """A name that is empty, too long in bytes, not valid Unicode or has a control character is nobody's."""
    assert not possible(name)
