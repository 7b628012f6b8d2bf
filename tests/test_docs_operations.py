"""The page about the service shows what there is: what `ldapauth check` prints, and every metric."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ldapauth.cli import main
from ldapauth.metrics import Meter
from tests import configuration
from tests.servers.certificates import Certificates
from tests.servers.ports import free_port
from tests.servers.slapd import Slapd

PAGE = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()

EXAMPLES = dict(re.findall(r"^```text (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

CHECKS = {"refused": (2, ["juliet@example.com"]), "exists": (1, ["nobody@example.com", "--operation", "exists"])}
"""How many servers there are, of which the last is up, and what is asked."""


def plain(text: str) -> str:
    """The text without what differs from run to run."""
    return re.sub(r" *\d+\.\d+ ms", "N ms", text)


@pytest.mark.parametrize("name", CHECKS)
def test_the_examples_are_real(tmp_path: Path, certificates: Certificates, name: str) -> None:
    """What the page shows of `ldapauth check` is what it prints, names and times apart."""
    number, arguments = CHECKS[name]
    down = f"ldaps://localhost:{free_port()}"
    with Slapd(certificate=certificates.server) as slapd:
        servers = [down, slapd.ldaps_url][-number:]
        table = configuration.domain_table(slapd, servers=servers, ca_file=str(certificates.ca))
        command = ["--config", str(configuration.write(tmp_path, table)), "check", *arguments]
        printed = CliRunner().invoke(main, command, input="wrong\n").stdout
        printed = printed.replace(down, "ldaps://ldap1.example.com:636")
        printed = printed.replace(str(slapd.ldaps_url), "ldaps://ldap2.example.com:636")
    assert plain(printed) == plain(EXAMPLES[name])


def test_every_example_is_tried() -> None:
    """The page has no example that is not tried."""
    assert list(EXAMPLES) == list(CHECKS)


def test_every_metric_is_explained() -> None:
    """The page has a row for each metric, with its type and its labels, and no other."""
    rows = re.findall(r"^\| `(ldapauth_\w+)` \| (\w+) \| ([^|]*) \|", PAGE, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    metrics = [metric for metric in vars(Meter()).values() if hasattr(metric, "_labelnames")]
    assert documented == {
        metric._name + ("_total" if metric._type == "counter" else ""): (metric._type, metric._labelnames)
        for metric in metrics
    }
