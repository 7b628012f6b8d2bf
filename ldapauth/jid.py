r"""What a JID's local part says: XEP-0106 unescaping, and which names can't be; imports nothing of ours.

XMPP servers send the local part in lower case and, for the ten characters that it can't hold, escaped
(`d\27artagnan`, `j\20doe`). A directory knows the name itself, so it is unescaped before anything is asked.
"""

import re
import unicodedata

MAX_NAME = 1023
"""Bytes: the limit of a local part (RFC 7622 3.3); the unescaped name is never longer than the escaped one."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(r"\\(20|22|26|27|2f|3a|3c|3e|40|5c)")  # XEP-0106 4.2: lower-case digits only


def unescape(local_part: str) -> str:
    r"""The name that an XEP-0106 escaped local part stands for; other backslashes stay as they are.

    Source: XEP-0106 4.3. One pass from left to right, so `\5c27` is the four characters `\27`.
    """
    if "\\" not in local_part:
        return local_part
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), local_part)


def possible_domain(domain: str) -> bool:
    """Whether a virtual host can have the name, and no directory takes it for that of another one, case apart."""
    return possible(domain) and domain.isprintable() and " " not in domain and unicodedata.is_normalized("NFKC", domain)


def possible(name: str) -> bool:
    """Whether a user can have the name: not empty, not too long, no control character, valid Unicode."""
    if not name or len(name) > MAX_NAME:
        return False
    if name.isascii():
        return name.isprintable()
    try:
        encoded = name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return len(encoded) <= MAX_NAME and not _CONTROL.search(name)
