"""The metrics: what is counted, under which names, and that the dashboard asks for nothing else."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.errors import ConfigurationError, DirectoryUnavailable, NoSuchUser
from ldapauth.metrics import Meter
from ldapauth.provider import Provider
from tests import configuration
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.slapd import Slapd

DASHBOARD = json.loads((Path(__file__).parents[1] / "deploy" / "grafana-dashboard.json").read_text())


@pytest.fixture
def provider(slapd: Slapd, tmp_path: Path) -> Provider:
    """A provider for a domain that is up, and for all others, of which the directory is down."""
    down = configuration.domain_table(slapd, servers=[f"ldap://{LOOPBACK}:{free_port()}"], connect_timeout=0.5)
    domains = {configuration.DOMAIN: configuration.domain_table(slapd), "*": down}
    return Provider(config.load(str(configuration.write(tmp_path, {}, domains=domains))))


@pytest.fixture
def meter(provider: Provider) -> Meter:
    """A meter of that provider, which has answered something of every kind."""
    meter = Meter()
    meter.watch(provider)
    for domain in ("example.com", "EXAMPLE.com", "down.example", "other.example", "bad domain"):
        for password in ("juliet-secret", "wrong"):
            ask(provider, domain, password)
    return meter


def ask(provider: Provider, domain: str, password: str) -> None:
    """A login, whatever comes of it."""
    try:
        provider.check_password("juliet", domain, password, Deadline.after(10))
    except DirectoryUnavailable:
        assert domain not in ("example.com", "bad domain")


def samples(meter: Meter) -> list[Any]:
    """All samples that are shown."""
    families = text_string_to_metric_families(meter.text().decode())
    return [sample for family in families for sample in family.samples]


def questions(meter: Meter) -> dict[tuple[str, ...], float]:
    """How many questions there were, by operation, domain, verdict and reason."""
    names = ("operation", "domain", "verdict", "reason")
    found = [sample for sample in samples(meter) if sample.name == "ldapauth_questions_total"]
    return {tuple(sample.labels[name] for name in names): sample.value for sample in found}


def test_questions_are_counted_by_the_tables_of_their_domains(meter: Meter) -> None:
    """A domain is counted by the table that serves it, and all that none serves as one: labels can't be made up."""
    assert questions(meter) == {
        ("check_password", "example.com", "accepted", ""): 2,
        ("check_password", "example.com", "refused", "wrong-password"): 2,
        ("check_password", "*", "unavailable", "outage"): 4,
        ("check_password", "(unknown)", "refused", "unknown-domain"): 2,
    }


def test_every_operation_is_counted(provider: Provider) -> None:
    """Changes that are refused, and operations that are answered in other ways, are counted too."""
    meter = Meter()
    meter.watch(provider)
    provider.user_exists("juliet", configuration.DOMAIN, Deadline.after(10))
    with pytest.raises(NoSuchUser):
        provider.set_password("nobody", configuration.DOMAIN, "x", Deadline.after(10))
    assert questions(meter) == {
        ("user_exists", "example.com", "accepted", ""): 1,
        ("set_password", "example.com", "refused", "no-such-user"): 1,
    }


def test_no_user_is_in_a_label(meter: Meter) -> None:
    """Nothing that is shown has a user's name or password in it."""
    assert "juliet" not in meter.text().decode()


def test_a_meter_follows_another_provider(meter: Meter, slapd: Slapd, tmp_path: Path) -> None:
    """After the configuration was read again the counts go on where they were."""
    before = questions(meter)
    table = configuration.domain_table(slapd)
    fresh = Provider(config.load(str(configuration.write(tmp_path, table))))
    meter.watch(fresh)
    ask(fresh, configuration.DOMAIN, "juliet-secret")
    after = questions(meter)
    assert {key: after[key] - before[key] for key in before if after[key] != before[key]} == {
        ("check_password", "example.com", "accepted", ""): 1
    }


def expressions() -> Iterator[str]:
    """What the dashboard asks Prometheus."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (one["query"]["query"] for one in DASHBOARD["templating"]["list"] if isinstance(one["query"], dict))


def test_the_dashboard_asks_for_metrics_that_there_are(meter: Meter) -> None:
    """Each metric in the dashboard is shown by a meter, with each label that is asked for, and each is on it."""
    shown: dict[str, set[str]] = {}
    for sample in samples(meter):
        shown.setdefault(sample.name, set()).update(sample.labels)
    asked: set[str] = set()
    for text in expressions():
        names = re.findall(r"\bldapauth_\w+", text)
        assert names, text
        labels = set(re.findall(r"(\w+)=~?\"", text))
        labels |= {label for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(", ")}
        labels |= set(re.findall(r"label_values\(\w+, (\w+)\)", text))
        for name in names:
            assert labels <= shown[name], (text, name)
        asked |= {re.sub(r"_bucket$", "", name) for name in names}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown if not name.endswith("_created")}
    assert asked == families


def test_the_dashboard_asks_for_values_that_there_are(meter: Meter) -> None:
    """The values of labels that the dashboard names are such as a meter gives."""
    values = {value for sample in samples(meter) for value in sample.labels.values()} | {"error"}
    for text in expressions():
        named = [
            one for group in re.findall(r"(?:verdict|operation|state)=~?\"([^\"]*)\"", text) for one in group.split("|")
        ]
        assert set(named) <= values, text


def test_metrics_that_are_wanted_need_their_package(tmp_path: Path) -> None:
    """Without the client for Prometheus a configuration that wants metrics is a mistake; one that does not is none."""
    domain = '[domains."example.com"]\nservers = ["ldaps://x"]\nbase_dn = "dc=x"\n'
    code = "import sys; sys.modules['prometheus_client'] = None; from ldapauth import config; config.load(sys.argv[1])"
    for text, wanted in ((domain, False), (f'{domain}[metrics]\ntextfile = "x.prom"\n', True)):
        (tmp_path / "x.toml").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "x.toml")], capture_output=True, text=True, check=False
        )
        assert ("pip install 'ldapauth[metrics]'" in done.stderr) == wanted
        assert (done.returncode != 0) == wanted


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            'textfile = "x.txt"',
            "metrics.textfile: expected a name that ends with .prom, as node_exporter reads no other",
        ),
        ('credentials = "x"', 'metrics.credentials: expected "user:password"'),
        ("credentials = []", "metrics.credentials: expected `array` of length >= 1"),
        ('credentials_file = "missing"', "metrics.credentials_file: {directory}/missing: No such file or directory"),
        ("port = 1", "metrics.port: unknown key"),
    ],
)
def test_mistakes(tmp_path: Path, table: str, line: str) -> None:
    """Each mistake in the table is one line that begins with the setting's path."""
    file = tmp_path / "x.toml"
    file.write_text(f'[domains."example.com"]\nservers = ["ldaps://x"]\nbase_dn = "dc=x"\n[metrics]\n{table}\n')
    with pytest.raises(ConfigurationError) as caught:
        config.load(str(file))
    assert list(caught.value.problems) == [line.replace("{directory}", str(tmp_path))]
