"""Tests of `ldapauth doctor`: each finding is provoked once, against real servers. Here is how they examine."""

import socket
from pathlib import Path
from typing import Any

import pytest

from ldapauth import doctor
from ldapauth.doctor.finding import Finding, Line, Mark
from tests import configuration


def listen_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `localhost` be nothing but 127.0.0.1, where the servers of the tests listen, on every machine."""
    resolve = socket.getaddrinfo

    def addresses(host: str, *others: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if host == "localhost" and not more.get("flags") else host, *others, **more)

    monkeypatch.setattr(socket, "getaddrinfo", addresses)


def examined(directory: Path, table: dict[str, Any], *domains: str, **sections: Any) -> list[Line]:
    """What the doctor has to say about a configuration with this table for `configuration.DOMAIN`."""
    return list(doctor.examine(str(configuration.write(directory, table, **sections)), domains))


def findings(lines: list[Line], check: str) -> list[Finding]:
    """What one check has found."""
    return [line.finding for line in lines if line.check == check]


def only(lines: list[Line], check: str) -> Finding:
    """The one thing that a check has found."""
    (found,) = findings(lines, check)
    return found


def problems(lines: list[Line]) -> dict[str, str]:
    """The text of what is a problem or a warning, by the name of the check."""
    return {line.check: line.finding.text for line in lines if line.finding.mark in (Mark.WARNING, Mark.PROBLEM)}


def skipped(lines: list[Line]) -> list[str]:
    """The checks that could not be made."""
    texts = [finding.text.partition(": ")[0] for finding in findings(lines, "skipped")]
    return [name for text in texts for name in text.split(", ")]
