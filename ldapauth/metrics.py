"""What Prometheus is shown: questions, how long they took, how servers and connections are. Only where it is wanted.

Owns the names of the metrics and what they are counted by, the counts of several gunicorn workers taken together, and
the file that a helper writes for node_exporter. Counting never waits for anything but a processor. Knows no protocol.
No label has a user's name or a domain that is not configured: there are as many series as the configuration allows.
"""

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from . import log
from .config import Operation
from .provider import Provider

_log = logging.getLogger(__name__)

UNKNOWN = "(unknown)"
"""The label `domain` of a question about a domain that has no table. That of any other is the name of its table."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds: from a login on kept connections to the deadline."""

EVERY = 15.0
"""Seconds between two writings of the file, as often as Prometheus looks."""


class Meter:
    """Counts what a provider answers, for one process or, under gunicorn, for all workers together.

    Which of the two it is depends on `PROMETHEUS_MULTIPROC_DIR` in the environment; deploy/gunicorn.conf.py sets it.

    Attributes:
        content_type: The type of what `text` gives.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._provider: Provider | None = None
        self._questions = Counter(
            "ldapauth_questions",
            "Questions of XMPP servers, by what became of them.",
            ["operation", "domain", "verdict", "reason"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ldapauth_question_seconds",
            "Seconds from a question's arrival to its answer.",
            ["operation", "domain"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._up = Gauge(
            "ldapauth_server_up",
            "Whether the server could be asked when it was tried last.",
            ["domain", "server"],
            registry=self._registry,
            multiprocess_mode="livemostrecent",
        )
        self._connections = Gauge(
            "ldapauth_connections",
            "Connections to the servers of a domain: in use, or kept for the next question.",
            ["domain", "kind", "state"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def watch(self, provider: Provider) -> None:
        """Counts the questions of a provider from now on, in place of another one."""
        self._provider = provider
        provider.watch = self._count

    def text(self) -> bytes:
        """All metrics in Prometheus's text format: of this process, or of all workers where there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call] # of theirs
        return generate_latest(together)

    def text_of_process(self) -> bytes:
        """The metrics of this process, each with its id: files of several processes may not have the same series."""
        labelled = CollectorRegistry()
        labelled.register(_Labelled(self._registry, {"process": str(os.getpid())}))
        return generate_latest(labelled)

    def _count(self, operation: Operation, table: str, verdict: str, reason: str, seconds: float) -> None:
        domain = table or UNKNOWN
        self._questions.labels(operation, domain, verdict, reason).inc()
        self._seconds.labels(operation, domain).observe(seconds)
        if table:
            self._look(table)

    def _look(self, table: str) -> None:
        """Notes how the servers and connections of a domain are."""
        if self._provider is None:
            return
        state = self._provider.directories[table].state()
        for server, up in state.servers:
            self._up.labels(table, str(server)).set(up)
        for kind, (in_use, idle) in state.connections.items():
            self._connections.labels(table, kind, "in use").set(in_use)
            self._connections.labels(table, kind, "kept").set(idle)


class _Labelled(Collector):
    """What another registry has, with more labels."""

    def __init__(self, registry: CollectorRegistry, labels: dict[str, str]) -> None:
        self._registry = registry
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, **self._labels})
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield metric

    def describe(self) -> list[Metric]:
        return []


def write_now_and_then(meter: Meter, name: str, pause: Callable[[float], object] = time.sleep) -> None:
    """Has a thread write the metrics of this process into a file for node_exporter, for as long as the process lives.

    The process's id comes into the file's name, as a machine has several helpers. What dead ones have left is removed.

    Args:
        meter: What counts.
        name: The configured name, which ends with `.prom`.
        pause: Waits so many seconds between two writings.
    """
    path = Path(name)

    def keep_writing() -> None:
        troubled = False
        while True:
            try:
                _write(path.with_name(f"{path.stem}.{os.getpid()}.prom"), meter.text_of_process())
                _remove_dead(path)
                troubled = False
            except OSError as error:
                if not troubled:
                    log.event(_log, logging.WARNING, "metrics-failed", file=name, error=error.strerror or "")
                troubled = True
            pause(EVERY)

    threading.Thread(target=keep_writing, name="metrics", daemon=True).start()


def _write(path: Path, content: bytes) -> None:
    """Replaces a file in one step, so that nobody reads half of it; whoever may enter the directory may read it."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o644)
    new.replace(path)


def _remove_dead(path: Path) -> None:
    """Removes the files of processes that there are no more: their numbers would stay for ever."""
    for file in path.parent.iterdir():
        found = re.fullmatch(rf"{re.escape(path.stem)}\.(\d+)\.(?:prom|new)", file.name)
        if found and not Path("/proc", found[1]).exists():
            with contextlib.suppress(OSError):
                file.unlink()
