"""Servers that DNS lists, asked of a small real DNS server, with a real slapd behind the records."""

import collections
import logging
import random
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.nameserver
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from pytest_mock import MockerFixture

from ldapauth import config
from ldapauth.config import Server
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory, User, srv
from ldapauth.directory.srv import SrvList, ordered
from ldapauth.errors import DirectoryUnavailable
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests import configuration
from tests.servers.certificates import Certificates
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import wait_until
from tests.servers.slapd import Slapd

DOMAIN = "directory.example"
RECORD = f"_ldap._tcp.{DOMAIN}."
PATIENCE = 10.0
SLACK = 0.5

JULIET = User("juliet", configuration.DOMAIN)


class DnsServer:
    """A DNS server on a UDP port of loopback: `with DnsServer() as dns_server: ...`.

    Attributes:
        records: The SRV records of `RECORD`, as a zone file has them; none at all for a name that does not exist.
        ttl: Their time to live.
        mood: How it answers: `good`, `silent`, `garbage`, `empty` (the name has other records), or `failing`.
        asked: How many queries there were.
    """

    def __init__(self) -> None:
        self.records: list[str] = []
        self.ttl = 300
        self.mood = "good"
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, name="DNS", daemon=True)

    def __enter__(self) -> Self:
        self._socket.bind((LOOPBACK, 0))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())  # wakes the thread
        self._thread.join()
        self._socket.close()

    @property
    def nameserver(self) -> dns.nameserver.Nameserver:
        """Where it is, for a resolver."""
        return dns.nameserver.Do53Nameserver(LOOPBACK, self._socket.getsockname()[1])

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            if not query:
                return
            self.asked += 1
            if self.mood == "garbage":
                self._socket.sendto(query[:2] + b"\xff" * 40, client)
            elif self.mood != "silent":
                self._socket.sendto(self._answer(dns.message.from_wire(query)).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.mood == "failing":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif str(query.question[0].name) != RECORD or not (self.records or self.mood == "empty"):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif self.mood != "empty":
            answer.answer.append(dns.rrset.from_text(RECORD, self.ttl, "IN", "SRV", *self.records))
        return answer


FAILURES = ["silent", "garbage", "failing", "empty", "nxdomain"]


@pytest.fixture
def dns_server(mocker: MockerFixture) -> Iterator[DnsServer]:
    """The DNS server that everything asks, with short times for what takes seconds."""
    with DnsServer() as server:
        resolve_with(mocker, server.nameserver)
        mocker.patch.object(srv, "_LIFETIME", 0.2)
        mocker.patch.object(srv, "_SHORTEST", 0.1)
        mocker.patch.object(srv, "_RETRY", 0.1)
        yield server


def resolve_with(mocker: MockerFixture, *nameservers: dns.nameserver.Nameserver) -> None:
    """Has everybody ask these."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = list(nameservers)
    mocker.patch.object(dns.resolver, "default_resolver", resolver)


def fail(dns_server: DnsServer, failure: str) -> None:
    """Has the DNS server fail in one of the ways."""
    dns_server.mood = "good" if failure == "nxdomain" else failure
    if failure == "nxdomain":
        dns_server.records = []


def soon() -> Deadline:
    """The deadline of a test's question."""
    return Deadline.after(4)


def hosts(servers: SrvList) -> list[str]:
    """The hosts that are listed."""
    return [server.host for server in servers(soon())]


def test_records_are_servers_by_priority(dns_server: DnsServer) -> None:
    """Each record is a plain LDAP server with its port, the lowest priority first."""
    dns_server.records = ["20 0 3890 C.example.", "10 0 389 b.example.", "30 0 389 d.example."]
    assert SrvList(DOMAIN)(soon()) == [
        Server("ldap", "b.example", 389),
        Server("ldap", "c.example", 3890),
        Server("ldap", "d.example", 389),
    ]


def test_list_is_kept_for_its_time_to_live(dns_server: DnsServer) -> None:
    """As long as the records are good DNS is asked once, by however many questions."""
    dns_server.records = ["0 0 389 a.example."]
    servers = SrvList(DOMAIN)
    threads = [threading.Thread(target=hosts, args=(servers,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hosts(servers) == ["a.example"]
    assert dns_server.asked == 1


def test_list_is_looked_up_again_after_its_time_to_live(dns_server: DnsServer) -> None:
    """New records come into use when the old ones have expired."""
    dns_server.ttl = 0
    dns_server.records = ["0 0 389 a.example."]
    servers = SrvList(DOMAIN)
    assert hosts(servers) == ["a.example"]
    dns_server.records = ["0 0 389 b.example."]
    assert wait_until(lambda: hosts(servers) == ["b.example"], PATIENCE)


@pytest.mark.parametrize("failure", FAILURES)
def test_dns_that_never_answered_is_an_outage_until_it_does(dns_server: DnsServer, failure: str) -> None:
    """Without a list nothing can be asked; with the first good answer all can."""
    fail(dns_server, failure)
    servers = SrvList(DOMAIN)
    with pytest.raises(DirectoryUnavailable, match=RECORD[:-1]):
        servers(soon())
    dns_server.mood, dns_server.records = "good", ["0 0 389 a.example."]

    def listed() -> bool:
        try:
            return hosts(servers) == ["a.example"]
        except DirectoryUnavailable:
            return False

    assert wait_until(listed, PATIENCE)


@pytest.mark.parametrize("failure", FAILURES)
def test_last_good_list_serves_while_dns_fails(
    dns_server: DnsServer, failure: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When DNS fails after a good answer the servers stay as they were, and the log says so once."""
    monkeypatch.setattr(logging.getLogger("ldapauth"), "propagate", True)
    dns_server.ttl = 0
    dns_server.records = ["0 0 389 a.example."]
    servers = SrvList(DOMAIN)
    assert hosts(servers) == ["a.example"]
    fail(dns_server, failure)
    asked = dns_server.asked

    def asked_twice_more() -> bool:
        assert hosts(servers) == ["a.example"]
        return dns_server.asked >= asked + 2 and len(caplog.records) > 0

    assert wait_until(asked_twice_more, PATIENCE)
    dns_server.mood, dns_server.records = "good", ["0 0 389 b.example."]
    assert wait_until(lambda: hosts(servers) == ["b.example"], PATIENCE)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["event=dns-failed"]


@pytest.mark.parametrize("known", [False, True], ids=["never-answered", "answered-before"])
def test_dns_that_hangs_makes_no_question_late(dns_server: DnsServer, mocker: MockerFixture, *, known: bool) -> None:
    """A question with less time than a look-up may take gives up, or goes on with the last list, in its own time."""
    mocker.patch.object(srv, "_LIFETIME", 60.0)
    dns_server.ttl = 0
    dns_server.records = ["0 0 389 a.example."]
    servers = SrvList(DOMAIN)
    if known:
        assert hosts(servers) == ["a.example"]
        servers._good_until = 0.0
    dns_server.mood = "silent"
    ends: list[tuple[bool, float]] = []

    def ask() -> None:
        deadline = Deadline.after(0.4)
        try:
            servers(deadline)
        except DirectoryUnavailable:
            ends.append((False, deadline.elapsed))
        else:
            ends.append((True, deadline.elapsed))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [listed for listed, _ in ends] == [known] * 4
    assert all(elapsed <= 0.4 + SLACK for _, elapsed in ends)


def test_questions_beside_a_look_up_do_not_wait_for_it(dns_server: DnsServer, mocker: MockerFixture) -> None:
    """While one question asks a DNS that hangs, the others go on with the last list at once."""
    mocker.patch.object(srv, "_LIFETIME", 60.0)
    dns_server.ttl = 0
    dns_server.records = ["0 0 389 a.example."]
    servers = SrvList(DOMAIN)
    assert hosts(servers) == ["a.example"]
    servers._good_until = 0.0
    dns_server.mood = "silent"
    asked = dns_server.asked
    asking = threading.Thread(target=servers, args=(Deadline.after(1.2),))
    asking.start()
    assert wait_until(lambda: dns_server.asked > asked, PATIENCE)
    deadline = Deadline.after(0.3)
    assert [server.host for server in servers(deadline)] == ["a.example"]
    assert not deadline.expired
    assert asking.is_alive()
    asking.join()


@pytest.mark.parametrize("seconds", [0.0, 0.1], ids=["none", "too-little"])
def test_question_without_time_says_nothing_about_dns(
    dns_server: DnsServer, mocker: MockerFixture, seconds: float
) -> None:
    """A first question that comes too late for a look-up leaves no outage behind for the next."""
    mocker.patch.object(srv, "_RETRY", 60.0)
    dns_server.records = ["0 0 389 a.example."]
    dns_server.mood = "silent"
    servers = SrvList(DOMAIN)
    with pytest.raises(DirectoryUnavailable):
        servers(Deadline.after(seconds))
    dns_server.mood = "good"
    assert hosts(servers) == ["a.example"]


def test_first_resolver_that_is_dead_leaves_time_for_the_second(dns_server: DnsServer, mocker: MockerFixture) -> None:
    """Of two resolvers one is enough."""
    dns_server.records = ["0 0 389 a.example."]
    with DnsServer() as dead:
        dead.mood = "silent"
        resolve_with(mocker, dead.nameserver, dns_server.nameserver)
        assert hosts(SrvList(DOMAIN)) == ["a.example"]
        assert dead.asked


@pytest.mark.parametrize(
    ("records", "expected"),
    [(["0 0 0 ."], []), (["0 0 389 .", "1 0 389 a.example."], ["a.example"])],
    ids=["alone", "beside-another"],
)
def test_target_of_a_single_dot_is_no_server(dns_server: DnsServer, records: list[str], expected: list[str]) -> None:
    """RFC 2782's way to say that there is no such service is understood."""
    dns_server.records = records
    servers = SrvList(DOMAIN)
    if expected:
        assert hosts(servers) == expected
    else:
        with pytest.raises(DirectoryUnavailable, match="no SRV records"):
            servers(soon())


def test_priority_comes_before_weight() -> None:
    """A heavy record of a lower preference never comes before a light one of a higher."""
    records = [(2, 65535, "c", 1), (1, 0, "a", 1), (1, 1, "b", 1)]
    for _ in range(200):
        drawn = ordered(records)
        assert sorted(drawn) == sorted(records)
        assert all(one[0] <= other[0] for one, other in pairwise(drawn))


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({"a": 60, "b": 30, "c": 10}, {"a": 0.6, "b": 0.3, "c": 0.1}),
        ({"a": 0, "b": 0}, {"a": 0.5, "b": 0.5}),
        ({"a": 0, "b": 1}, {"a": 0.0, "b": 1.0}),
        ({"a": 65535, "b": 65535, "c": 0}, {"a": 0.5, "b": 0.5, "c": 0.0}),
    ],
    ids=["different", "all-zero", "one-zero", "heavy"],
)
def test_first_place_is_drawn_by_weight(weights: dict[str, int], shares: dict[str, float]) -> None:
    """Over many draws a record is first as often as its weight says; one of weight 0 hardly ever is."""
    random.seed(2782)
    records = [(0, weight, host, 389) for host, weight in weights.items()]
    draws = 10_000
    firsts = collections.Counter(ordered(records)[0][2] for _ in range(draws))
    for host, share in shares.items():
        assert firsts[host] / draws == pytest.approx(share, abs=0.02)


def test_second_place_is_drawn_by_weight_among_the_rest() -> None:
    """When the first server is away, those behind it share its load by their weights."""
    random.seed(2782)
    records = [(0, 1000, "a", 389), (0, 30, "b", 389), (0, 10, "c", 389)]
    seconds = collections.Counter(ordered(records)[1][2] for _ in range(10_000))
    assert seconds["b"] / (seconds["b"] + seconds["c"]) == pytest.approx(0.75, abs=0.02)


def test_login_at_the_servers_that_dns_lists(
    dns_server: DnsServer, slapd: Slapd, tmp_path: Path, certificates: Certificates
) -> None:
    """A domain whose servers DNS lists is asked at the first that is there, and at new ones when DNS lists others."""
    dns_server.ttl = 0
    dns_server.records = [f"10 0 {free_port()} localhost.", f"20 0 {slapd.port} localhost."]
    changes = {"servers": f"srv:{DOMAIN}", "insecure_plaintext": True, "ca_file": str(certificates.ca)}
    file = configuration.write(tmp_path, configuration.domain_table(slapd, **changes))
    directory = Directory(configuration.DOMAIN, config.load(str(file)).domains[configuration.DOMAIN])
    assert directory.check_password(JULIET, "juliet-secret", soon()) == ACCEPTED
    assert directory.check_password(JULIET, "x", soon()) == Verdict(Reason.WRONG_PASSWORD)
    dns_server.mood = "silent"
    for _ in range(3):
        assert directory.check_password(JULIET, "juliet-secret", soon()) == ACCEPTED
    with Slapd() as other:
        dns_server.mood, dns_server.records = "good", [f"10 0 {other.port} localhost."]
        other.modify_ldif(
            "dn: uid=juliet,ou=people,dc=example,dc=com\nreplace: userPassword\nuserPassword: elsewhere\n"
        )
        assert wait_until(
            lambda: directory.check_password(JULIET, "elsewhere", soon()) == ACCEPTED,
            PATIENCE,
        )
