"""The little LDIF (RFC 2849) and the escaping of names (RFC 4514) that the test directory needs."""

import base64
from collections.abc import Iterable

# RFC 4514, section 2.4. The rest is written as it is, in UTF-8.
_SPECIAL = frozenset('"+,;<>\\')


def escape_rdn_value(value: str) -> str:
    r"""Escapes an attribute value for its place in a distinguished name.

    Deliberately not the code under test, nor ldap3's: the tests must not repeat a mistake of either.

    >>> escape_rdn_value("o,reilly")
    'o\\,reilly'
    """
    escaped = "".join(f"\\{character}" if character in _SPECIAL else character for character in value)
    escaped = escaped.replace("\0", "\\00")
    if escaped.startswith((" ", "#")):
        escaped = f"\\{escaped}"
    if value.endswith(" ") and len(value) > 1:
        escaped = f"{escaped[:-1]}\\ "
    return escaped


def line(name: str, value: str | bytes) -> str:
    """Returns the line of one attribute value, in base64 where it must be."""
    octets = value.encode() if isinstance(value, str) else value
    if _is_safe(octets):
        return f"{name}: {octets.decode('ascii')}\n"
    return f"{name}:: {base64.b64encode(octets).decode('ascii')}\n"


def entry(dn: str, attributes: Iterable[tuple[str, str | bytes]]) -> str:
    """Returns the LDIF of an entry, with the empty line that ends it."""
    return "".join([line("dn", dn), *(line(name, value) for name, value in attributes), "\n"])


def parse_entry(text: bytes) -> dict[str, list[bytes]]:
    """Returns the attributes of the first entry of an LDIF text without wrapped lines, or an empty dict."""
    attributes: dict[str, list[bytes]] = {}
    for text_line in text.strip().splitlines():
        if not text_line:
            break
        name, _, value = text_line.partition(b":")
        octets = base64.b64decode(value[1:]) if value.startswith(b":") else value.removeprefix(b" ")
        attributes.setdefault(name.decode("ascii"), []).append(octets)
    attributes.pop("dn", None)
    return attributes


def _is_safe(octets: bytes) -> bool:
    printable = all(0x20 <= octet < 0x7F for octet in octets)
    return printable and not octets.startswith((b" ", b":", b"<")) and not octets.endswith(b" ")
