"""A clock that stands still until a test moves it."""

import sys

import pytest

import ldapauth.guard  # noqa: F401 - its modules are to be there

MODULES = [name for name in sys.modules if name.startswith("ldapauth.guard")]


class Clock:
    """The time of the guard."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.time

    def forward(self, seconds: float) -> None:
        """Lets time pass."""
        self.time += seconds

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Puts it in place of the real one; nobody waits any more."""
        for name in MODULES:
            if hasattr(sys.modules[name], "now"):
                patch.setattr(sys.modules[name], "now", self)
        patch.setattr("ldapauth.guard.MOST_DELAY", 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock."""
    made = Clock()
    made.install(monkeypatch)
    return made
