"""What was measured, as tables: the medians of each peer, and the ratios that matter, each with what we aim at."""

import itertools
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.peer import Metric, Peer, Sample

Rounds = Sequence[Mapping[str, Sample]]
"""The samples of each round, by the keys of the peers."""

_Row = Sequence[str]


@dataclass(frozen=True)
class Ratio:
    """A comparison of two peers.

    Attributes:
        label: What is divided by what.
        metric: What of them.
        dividend: The key of the one.
        divisor: The key of the other.
        least: What the ratio is to be at least, if that is the aim.
        most: What it is to be at most, likewise.
    """

    label: str
    metric: Metric
    dividend: str
    divisor: str
    least: float | None = None
    most: float | None = None

    def of(self, rounds: Rounds) -> list[float]:
        """The ratio in each round that has both."""
        return [
            samples[self.dividend][self.metric] / samples[self.divisor][self.metric]
            for samples in rounds
            if {self.dividend, self.divisor} <= samples.keys()
        ]

    @property
    def aim(self) -> str:
        """What we aim at."""
        if self.least is not None:
            return f"≥ {self.least:.2f}"
        return f"≤ {self.most:.2f}" if self.most is not None else ""

    def met(self, value: float) -> str:
        """Whether the aim is met."""
        if self.least is None and self.most is None:
            return ""
        good = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        return "yes" if good else "no"


_Aims = tuple[float | None, float | None]


def _both(label: str, metric: Metric, dividend: str, divisor: str, aims: _Aims = (None, None)) -> Iterator[Ratio]:
    """A comparison in plain and over TLS, with what each is to be at least."""
    yield Ratio(f"{label}, plain", metric, dividend, divisor, aims[0])
    yield Ratio(f"{label}, TLS", metric, f"{dividend}-tls", f"{divisor}-tls", aims[1])


RATIOS = (
    *_both("helper: ours / floor", Metric.RATE, "ours", "floor", (0.85, None)),
    *_both("helper: ours / python-ldap", Metric.RATE, "ours", "python-ldap", (0.8, 0.8)),
    *_both("helper: ours / lualdap", Metric.RATE, "ours", "lualdap", (1.5, 5)),
    *_both("helper: ours / ldap3", Metric.RATE, "ours", "ldap3"),
    *_both("CPU: ldap3 / ours", Metric.CPU, "ldap3", "ours", (5, 5)),
    *_both("CPU: ours / floor", Metric.CPU, "ours", "floor"),
    *_both("ejabberd: ours / own, serial", Metric.RATE, "ejabberd-ours", "ejabberd-own", (0.9, 0.9)),
    *_both("ejabberd: ours / own, 8 at once", Metric.RATE, "ejabberd-ours-8", "ejabberd-own-8", (1, 1)),
    *_both("ejabberd: floor / own, serial", Metric.RATE, "ejabberd-floor", "ejabberd-own"),
    *_both("ejabberd: floor / own, 8 at once", Metric.RATE, "ejabberd-floor-8", "ejabberd-own-8"),
    Ratio("HTTP: ours / a route that answers true, plain", Metric.RATE, "http", "http-true", 0.45),
    Ratio("HTTP: ours / a route that answers true, TLS", Metric.RATE, "http-tls", "http-true"),
    Ratio("start: ours / import ldap3", Metric.START, "start", "start-import", most=2),
    Ratio("memory: ours / import ldap3", Metric.MEMORY, "start", "start-import", most=1.6),
)


@dataclass(frozen=True)
class Run:
    """What was measured, and how.

    Attributes:
        rounds: What was measured.
        logins: The logins of each turn.
        others: The part of the machine's CPU time that others used.
    """

    rounds: Rounds
    logins: int
    others: float

    @property
    def heading(self) -> str:
        """The run in a sentence."""
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        return (
            f"{machine}, {len(self.rounds)} rounds of {self.logins} logins; others used {self.others:.0%} of the CPU."
        )


def report(peers: Sequence[Peer], run: Run, unavailable: Mapping[str, str], *, markdown: bool) -> str:
    """The tables.

    Args:
        peers: What was to be measured, in the order of the rows.
        run: What was measured.
        unavailable: What could not be, and why, by the keys of the peers.
        markdown: Whether the tables are for the documentation and not for a terminal.
    """
    table = _markdown if markdown else _plain
    tables = [_peer_rows(peers, run.rounds, unavailable), _ratio_rows(run.rounds)]
    return "\n\n".join([run.heading, *(table(rows) for rows in tables if len(rows) > 1)]) + "\n"


def _peer_rows(peers: Sequence[Peer], rounds: Rounds, unavailable: Mapping[str, str]) -> list[_Row]:
    rows: list[_Row] = [["peer", "LDAP", *(metric.value for metric in Metric)]]
    for peer in peers:
        if peer.key in unavailable:
            cells = [unavailable[peer.key]]
        else:
            cells = [_median([samples[peer.key] for samples in rounds], metric) for metric in Metric]
        rows.append([peer.label, peer.wire, *cells])
    return rows


def _median(samples: Sequence[Sample], metric: Metric) -> str:
    values = [sample[metric] for sample in samples if metric in sample]
    return f"{statistics.median(values):,.0f}" if values else ""


def _ratio_rows(rounds: Rounds) -> list[_Row]:
    rows: list[_Row] = [["ratio", "median", "middle half", "aim", "met"]]
    for ratio in RATIOS:
        values = ratio.of(rounds)
        if values:
            middle = statistics.median(values)
            low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
            rows.append([ratio.label, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", ratio.aim, ratio.met(middle)])
    return rows


def _plain(rows: Sequence[_Row]) -> str:
    return _lines(rows, lambda cells: "  ".join(cells).rstrip())


def _markdown(rows: Sequence[_Row]) -> str:
    rule = ["---", *["---:" for _ in rows[0][1:]]]
    return _lines([rows[0], rule, *rows[1:]], lambda cells: f"| {' | '.join(cells)} |")


def _lines(rows: Sequence[_Row], join: Callable[[Sequence[str]], str]) -> str:
    """One line a row, the first column to the left and the others to the right; a row that is short ends in words."""
    padded = [row if len(row) == len(rows[0]) else row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in itertools.zip_longest(*padded, fillvalue="")]
    return "\n".join(
        join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))])
        for row in rows
    )
