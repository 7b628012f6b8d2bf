"""A directory for the guard to ask: right, wrong, switched off, away; with a count of what it was asked."""

from ldapauth.deadline import Deadline
from ldapauth.errors import DirectoryUnavailable
from ldapauth.guard import Guard
from ldapauth.verdict import ACCEPTED, Reason, Verdict

User = tuple[str, str]

JULIET, ROMEO = ("juliet", "example.com"), ("romeo", "example.com")


class Directory:
    """What is right, and what was asked.

    Attributes:
        passwords: The right ones.
        refuses: Why it refuses users whatever the password.
        away: Whether it can't be asked.
        asked: What it was asked.
    """

    def __init__(self) -> None:
        self.passwords: dict[User, str] = {JULIET: "right", ROMEO: "right"}
        self.refuses: dict[User, Reason] = {}
        self.away = False
        self.asked: list[tuple[User, str]] = []

    def answer(self, user: User, password: str) -> Verdict:
        """What it says."""
        if self.away:
            raise DirectoryUnavailable("away")
        self.asked.append((user, password))
        if user not in self.passwords:
            return Verdict(Reason.NO_SUCH_USER)
        if user in self.refuses:
            return Verdict(self.refuses[user])
        return ACCEPTED if self.passwords[user] == password else Verdict(Reason.WRONG_PASSWORD)

    def login(self, guard: Guard, user: User, password: str, *, from_memory: bool = True) -> str:
        """A login, in the words of the log: how it was answered, or that it was not."""
        try:
            verdict = guard.check(
                user, password, Deadline.after(10), lambda: self.answer(user, password), from_memory=from_memory
            )
        except DirectoryUnavailable:
            return "unavailable"
        if verdict.reason:
            return verdict.reason.value
        return verdict.memory.value if verdict.memory else "accepted"
