"""The people of the test directory: ordinary ones, and those whose names or passwords break careless code."""

import enum
from dataclasses import dataclass

from tests.servers import ldif

SUFFIX = "dc=example,dc=com"
PEOPLE_DN = f"ou=people,{SUFFIX}"


@dataclass(frozen=True)
class Person:
    """A person's entry in the directory.

    Attributes:
        uid: The login name, also the first part of the distinguished name.
        cn: The full name.
        sn: The family name.
        mail: The mail address.
        password: The password; None for an entry without one.
        ou: The organizational unit below `PEOPLE_DN`; None for most, who are directly below it.
    """

    uid: str
    cn: str
    sn: str
    mail: str
    password: str | None
    ou: str | None = None

    @property
    def parent_dn(self) -> str:
        """The distinguished name of the entry above."""
        return PEOPLE_DN if self.ou is None else f"ou={ldif.escape_rdn_value(self.ou)},{PEOPLE_DN}"

    @property
    def dn(self) -> str:
        """The distinguished name, escaped."""
        return f"uid={ldif.escape_rdn_value(self.uid)},{self.parent_dn}"

    @property
    def ldif(self) -> str:
        """The entry as LDIF."""
        attributes: list[tuple[str, str | bytes]] = [
            ("objectClass", "inetOrgPerson"),
            ("uid", self.uid),
            ("cn", self.cn),
            ("sn", self.sn),
            ("mail", self.mail),
        ]
        if self.password is not None:
            attributes.append(("userPassword", self.password))
        return ldif.entry(self.dn, attributes)


ORDINARY_PEOPLE = (
    Person("juliet", "Juliet Capulet", "Capulet", "juliet@example.com", "juliet-secret"),
    Person("romeo", "Romeo Montague", "Montague", "romeo@example.com", "romeo-secret"),
    Person("nurse", "Nurse of Juliet", "Nurse", "nurse@example.com", "nurse-secret"),
)

# Each with a character that means something in a filter, in a distinguished name, in LDIF, or in a login name.
PEOPLE_WITH_ODD_NAMES = (
    Person("d'artagnan", "Charles d'Artagnan", "d'Artagnan", "dartagnan@example.com", "dartagnan-secret"),
    Person("j doe", "Jane Doe", "Doe", "jane.doe@example.com", "jdoe-secret"),
    Person("back\\slash", "Back\\slash", "Slash", "backslash@example.com", "backslash-secret"),
    Person("o,reilly", "Tim O,Reilly", "O,Reilly", "oreilly@example.com", "oreilly-secret"),
    Person("plus+sign", "Plus+Sign", "Sign", "plus+sign@example.com", "plussign-secret"),
    Person("hash#tag", "Hash#Tag", "Tag", "hashtag@example.com", "hashtag-secret"),
    Person("star*name", "Star*Name", "Name", "starname@example.com", "starname-secret"),
    Person("paren(the)sis", "Paren (the) Sis", "Sis", "parenthesis@example.com", "parenthesis-secret"),
    Person('quote"d', 'Quote "d"', "Quoted", "quoted@example.com", "quoted-secret"),
    Person("jos\u00e9", "Jos\u00e9 Garc\u00eda", "Garc\u00eda", "jose@example.com", "jose-secret"),
    Person("strasse", "Lange Stra\u00dfe", "Stra\u00dfe", "strasse@example.com", "strasse-secret"),
    Person("user@host", "User at Host", "Host", "user.host@example.com", "userhost-secret"),
)

PEOPLE_WITH_ODD_PASSWORDS = (
    Person("colons", "Colons", "Password", "colons@example.com", "a:b:c"),
    Person("spaced", "Spaced", "Password", "spaced@example.com", " spaced "),
    Person("form", "Form", "Password", "form@example.com", "a&b+c%41=d;e#f?g/h"),
    Person("unicode", "Unicode", "Password", "unicode@example.com", "пароль-密码-🔑"),
    Person("long", "Long", "Password", "long@example.com", "0123456789" * 100),
    Person("quotes", "Quotes", "Password", "quotes@example.com", "'single' \"double\" \\back\\ `tick`"),
    # 0x03 and 0x7F are among what a terminal, and a careless text filter, would take for commands.
    Person("control", "Control", "Password", "control@example.com", "tab\tetx\x03del\x7fend"),
)

TWINS = (
    Person("twin", "Twin of A", "Twin", "twin.a@example.com", "twin-a-secret", ou="a"),
    Person("twin", "Twin of B", "Twin", "twin.b@example.com", "twin-b-secret", ou="b"),
)

PERSON_WITHOUT_PASSWORD = Person("nopassword", "No Password", "Password", "nopassword@example.com", None)

PEOPLE = (
    *ORDINARY_PEOPLE,
    *PEOPLE_WITH_ODD_NAMES,
    *PEOPLE_WITH_ODD_PASSWORDS,
    *TWINS,
    PERSON_WITHOUT_PASSWORD,
)


class State(enum.Enum):
    """Why an account is not like any other. The value is the login name of the person who is in that state.

    Which of them there are depends on what the server knows: see the server's class.
    """

    DISABLED = "switched-off"
    ACCOUNT_EXPIRED = "left-us"
    PASSWORD_EXPIRED = "long-ago"
    MUST_CHANGE = "just-reset"
    GRACE = "forgiven"
    EXPIRES_SOON = "almost"
    EASILY_LOCKED = "hasty"
    TOO_YOUNG = "impatient"
    AT_NO_TIME = "never"
    FROM_ELSEWHERE = "elsewhere"

    @property
    def person(self) -> Person:
        """The person: with a password that any policy likes."""
        return Person(self.value, f"Ms {self.value}", "State", f"{self.value}@example.com", "Right-Guess-1")


def person(uid: str) -> Person:
    """Returns the person with this login name; of the twins the first.

    Raises:
        KeyError: There is none.
    """
    for candidate in PEOPLE:
        if candidate.uid == uid:
            return candidate
    raise KeyError(uid)
