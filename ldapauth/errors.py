"""Everything that can go wrong with a question, as exceptions; imports nothing of ours.

    LdapAuthError
    ├── ConfigurationError        raised by: whoever reads a setting      caught by: the programs, at start
    ├── DirectoryUnavailable      raised by: directory                    caught by: front ends (503, "no")
    │   ├── DeadlineExceeded      raised by: whoever waits                likewise
    │   └── UnclearAnswer         raised by: directory                    likewise
    ├── OperationOff              raised by: provider                     caught by: front ends (501, "no")
    └── ChangeRefused             raised by: provider and directory       caught by: front ends
        ├── NoSuchUser            …the user, or the domain, is not there (404)
        ├── UserExists            …the account to be made is there already (409)
        ├── WrongPassword         …the change needed the user's password (403)
        ├── NotAllowed            …rights, or a name that can't be (403)
        └── PolicyRefusal         …the directory's password policy (403)

A yes or no about a password or a user is not an error but a value: see `verdict.py`. The text of an exception is a
sentence for the operator and never holds a password.
"""


class LdapAuthError(Exception):
    """The root of all exceptions that this package raises on purpose."""


class ConfigurationError(LdapAuthError):
    """The configuration can't be used.

    Attributes:
        problems: One line for each mistake, beginning with the key's path.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(map(printable, problems))
        super().__init__("\n".join(self.problems))


def printable(text: str) -> str:
    """The text with escapes for what could break its line or command a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class DirectoryUnavailable(LdapAuthError):
    """The directory gave no answer that can be trusted: down, unreachable, misconfigured, or not making sense."""


class DeadlineExceeded(DirectoryUnavailable):
    """The time for the question ran out before the directory had answered."""


class UnclearAnswer(DirectoryUnavailable):
    """A server answered, and its answer was neither yes nor no: garbage, a result that is none, what may not be read.

    It is no outage, so no memory answers in the directory's place.
    """


class OperationOff(LdapAuthError):
    """The domain's `operations` do not name what was asked."""


class ChangeRefused(LdapAuthError):
    """A change was understood and not made.

    Attributes:
        word: The reason as a word for the log; the text has it as a sentence.
    """

    word = "refused"


class NoSuchUser(ChangeRefused):
    """There is no such user, or not exactly one."""

    word = "no-such-user"


class UserExists(ChangeRefused):
    """The account to be made exists."""

    word = "user-exists"


class WrongPassword(ChangeRefused):
    """The change asks for the user's password, and it is not the one given."""

    word = "wrong-password"


class NotAllowed(ChangeRefused):
    """The directory, or a rule of ours, does not allow the change."""

    word = "not-allowed"


class PolicyRefusal(ChangeRefused):
    """The directory's policy refuses the new password; the text is the directory's reason where it gave one."""

    word = "policy"
