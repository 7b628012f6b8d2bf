"""What all tests of the doctor share."""

import pytest

from tests.doctor import listen_on_ipv4


@pytest.fixture(autouse=True)
def _ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is where the servers listen."""
    listen_on_ipv4(monkeypatch)
