"""A helper in an administrator's hands: SIGHUP on a pipe, its metrics, and its lines in the log."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pytest_mock import MockerFixture

from ldapauth import metrics
from ldapauth.frontends import stdio
from tests import configuration
from tests.frontends.programs import EJABBERD, GENERIC, PATIENCE, PipeHelper, Relay, Wire, configure
from tests.servers.people import person
from tests.servers.process import wait_until
from tests.servers.slapd import Slapd

RIGHT = f"auth:juliet:{configuration.DOMAIN}:{person('juliet').password}"
WRONG = f"auth:juliet:{configuration.DOMAIN}:wrong"
ELSEWHERE = RIGHT.replace(configuration.DOMAIN, "example.org")

BOTH = pytest.mark.parametrize("wire", [GENERIC, EJABBERD], ids=lambda wire: wire.name)


def with_another_domain(file: Path, slapd: Slapd) -> None:
    """Has the configuration serve one more domain."""
    table = configuration.domain_table(slapd)
    configuration.write(file.parent, {}, domains={configuration.DOMAIN: table, "example.org": table})


@BOTH
def test_a_helper_reads_its_configuration_again(slapd: Slapd, tmp_path: Path, wire: Wire) -> None:
    """On a pipe SIGHUP has the configuration read again, and every question before and after is answered."""
    file = configure(tmp_path, slapd)
    with PipeHelper(wire, file) as helper:
        assert helper.ask_all([RIGHT, ELSEWHERE]) == [True, False]
        with_another_domain(file, slapd)
        helper.signal(signal.SIGHUP)
        helper.wait_for_log("event=reread")
        assert helper.ask_all([RIGHT, ELSEWHERE]) == [True, True]
        assert helper.stderr.count("event=start") == 1


@BOTH
def test_no_question_is_lost_to_sighup(slapd: Slapd, tmp_path: Path, wire: Wire) -> None:
    """A helper that is asked without a pause, and told to read again all the time, answers everything, in order."""
    with PipeHelper(wire, configure(tmp_path, slapd)) as helper:
        assert helper.ask(RIGHT)
        for _ in range(20):
            helper.send(wire.questions([RIGHT, WRONG] * 10))
            helper.signal(signal.SIGHUP)
            assert helper.answers(20) == [True, False] * 10
        assert wait_until(lambda: helper.stderr.count("event=reread") > 1, PATIENCE)


@BOTH
def test_sighup_while_the_directory_is_asked(slapd: Slapd, tmp_path: Path, wire: Wire) -> None:
    """A question that is under way is answered first."""
    with Relay(slapd) as slow, PipeHelper(wire, configure(tmp_path, slapd, url=slow.url)) as helper:
        slow.hold()
        helper.send(wire.questions([RIGHT]))
        slow.wait_until_holding()
        helper.signal(signal.SIGHUP)
        slow.release()
        assert helper.answers(1) == [True]
        helper.wait_for_log("event=reread")
        assert helper.ask(RIGHT)


@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "later"])
def test_time_of_a_waiting_question_begins_before_the_rereading(mocker: MockerFixture, *, waits: bool) -> None:
    """Reading the configuration again takes of the time of the question that waits for it, and of no other's."""
    clock = mocker.patch("ldapauth.frontends.stdio.now", return_value=100.0)
    mocker.patch("ldapauth.frontends.stdio.terminal.more_waits", return_value=waits)
    source = mocker.Mock()
    source.read.return_value = mocker.Mock(), 4.0
    server = stdio._Server(mocker.Mock(), source, on_terminal=False)
    clock.return_value = 107.0

    def slowly() -> tuple[Any, float]:
        clock.return_value += 3.0
        return mocker.Mock(), 4.0

    source.read.side_effect = slowly
    server._reread()
    ends = [server._deadline()._end for _ in range(2)]
    assert ends == [111.0 if waits else 114.0, 114.0]


def test_a_mistake_at_sighup_costs_no_login(slapd: Slapd, tmp_path: Path) -> None:
    """With a configuration that can't be used the old one serves on, and the log names each mistake."""
    file = configure(tmp_path, slapd)
    with PipeHelper(GENERIC, file) as helper:
        assert helper.ask(RIGHT)
        good = file.read_text()
        for bad in ("[http", good.replace("base_dn", "bose_dn"), good.replace("(uid={user})", "(uid=*)")):
            file.write_text(bad)
            before = helper.stderr.count("ERROR event=configuration")
            helper.signal(signal.SIGHUP)
            assert wait_until(lambda: helper.stderr.count("ERROR event=configuration") > before, PATIENCE)  # noqa: B023
            assert helper.ask_all([RIGHT, WRONG]) == [True, False]
        assert "event=reread" not in helper.stderr
        file.write_text(good)
        helper.signal(signal.SIGHUP)
        helper.wait_for_log("event=reread")
        assert helper.ask(RIGHT)


def test_a_new_bind_password_is_used(tmp_path: Path) -> None:
    """After SIGHUP the service account binds with what its file has by then, and old connections are closed."""
    with Slapd(loglevel="stats") as slapd:
        secret = tmp_path / "bind-password"
        secret.touch(mode=0o600)
        secret.write_text(slapd.service_password)
        table = configuration.domain_table(slapd, bind_password=None, bind_password_file="bind-password")
        with PipeHelper(EJABBERD, configuration.write(tmp_path, table)) as helper:
            assert helper.ask(RIGHT)
            change = f"dn: {slapd.service_dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: rotated\n"
            slapd.modify_ldif(change)
            secret.write_text("rotated\n")
            before = slapd.operations()
            helper.signal(signal.SIGHUP)
            helper.wait_for_log("event=reread")
            assert wait_until(lambda: (slapd.operations() - before)["UNBIND"] >= 2, PATIENCE)
            assert helper.ask(RIGHT)
            assert "service-account-refused" not in helper.stderr


def test_sighup_at_the_start_ends_nothing(slapd: Slapd, tmp_path: Path) -> None:
    """A helper that is told to read again before it is ready lives, for ejabberd gives up one that ends at once."""
    with PipeHelper(EJABBERD, configure(tmp_path, slapd)) as helper:
        while "event=ready" not in helper.stderr:
            if is_isolated(helper.pid):
                helper.signal(signal.SIGHUP)
            time.sleep(0.002)
        assert helper.ask(RIGHT)


def is_isolated(pid: int) -> bool:
    """Whether a process has taken its signals in hand: before, Python itself has not started."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = {
        line.split(":")[0]: int(line.split()[1], 16)
        for line in status.splitlines()
        if line.startswith(("SigCgt", "SigIgn"))
    }
    return bool((masks["SigCgt"] | masks["SigIgn"]) & 1 << signal.SIGHUP - 1)


# Its metrics


def measured(directory: Path, slapd: Slapd, **more: Any) -> Path:
    """A configuration that has helpers write their metrics below a directory."""
    (directory / "textfiles").mkdir(exist_ok=True)
    table = configuration.domain_table(slapd)
    return configuration.write(directory, table, metrics={"textfile": "textfiles/ldapauth.prom", **more})


def test_a_helper_writes_its_metrics(slapd: Slapd, tmp_path: Path) -> None:
    """Helpers write what they count, each into a file of its own for everybody to read, where no series is twice."""
    command = [str(Path(GENERIC.program).with_name("python")), "-c", f"{IMPATIENT}; helper.generic()"]
    file = measured(tmp_path, slapd)
    with PipeHelper(GENERIC, file, command=command) as one, PipeHelper(GENERIC, file, command=command) as other:
        assert [one.ask_all([RIGHT, WRONG, RIGHT]), other.ask_all([RIGHT])] == [[True, False, True], [True]]
        assert wait_until(lambda: counted(tmp_path) == {(str(one.pid), "accepted"): 2, (str(one.pid), "refused"): 1,
                                                        (str(other.pid), "accepted"): 1}, PATIENCE)  # fmt: skip
        for path in (tmp_path / "textfiles").iterdir():
            assert path.suffix in (".prom", ".new")
            assert path.suffix != ".prom" or path.stat().st_mode & 0o777 == 0o644
        one.process.kill()
        one.process.wait()
        assert wait_until(lambda: {process for process, _ in counted(tmp_path)} == {str(other.pid)}, PATIENCE)


IMPATIENT = "from ldapauth import metrics; metrics.EVERY = 0.1; from ldapauth.frontends import helper"
"""What a program begins with that writes more often than the installed one."""


def counted(directory: Path) -> dict[tuple[str, str], float]:
    """The logins in all files that are whole, by process and verdict."""
    found = {}
    for file in (directory / "textfiles").glob("*.prom"):
        text = ""
        if file.exists():
            text = file.read_text()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "ldapauth_questions_total":
                    key = (sample.labels["process"], sample.labels["verdict"])
                    assert key not in found
                    found[key] = sample.value
    return found


def test_a_file_that_can_not_be_written_costs_no_login(slapd: Slapd, tmp_path: Path) -> None:
    """Metrics that can't be written are a warning, and logins go on."""
    file = measured(tmp_path, slapd, textfile="missing/ldapauth.prom")
    with PipeHelper(GENERIC, file) as helper:
        helper.wait_for_log("WARNING event=metrics-failed")
        assert helper.ask_all([RIGHT, WRONG]) == [True, False]


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Whoever reads the file while it is written reads the old one or the new one; a planted link is not followed."""
    target = tmp_path / "x.1.prom"
    metrics._write(target, b"old\n")
    with target.open("rb") as reader:
        metrics._write(target, b"new\n")
        assert reader.read() == b"old\n"
    assert target.read_bytes() == b"new\n"
    victim = tmp_path / "victim"
    target.with_suffix(".new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        metrics._write(target, b"x")
    assert not victim.exists()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """Only what processes have left that there are no more is removed."""
    dead = 4_194_305  # more than any process id
    kept = [f"ldapauth.{os.getpid()}.prom", "ldapauth.prom", f"other.{dead}.prom", f"ldapauth.{dead}.txt"]
    for name in [*kept, f"ldapauth.{dead}.prom", f"ldapauth.{dead}.new"]:
        (tmp_path / name).touch()
    metrics._remove_dead(tmp_path / "ldapauth.prom")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


# Its lines


def test_a_helper_logs_json(slapd: Slapd, tmp_path: Path) -> None:
    """A helper's lines are objects too, each question with the process and a count, and a hostile name forges none."""
    target = tmp_path / "log.json"
    log = {"target": str(target), "format": "json"}
    file = configuration.write(tmp_path, configuration.domain_table(slapd), log=log)
    hostile = 'auth:juliet"}\x1b[2J,{"verdict":"accepted:example.com:x'
    with PipeHelper(EJABBERD, file) as helper:
        assert helper.ask_all([RIGHT, hostile]) == [True, False]
        assert wait_until(lambda: target.read_text().count("check_password") == 2, PATIENCE)
        lines = [json.loads(line) for line in target.read_text().splitlines()]
        first, second = [line for line in lines if line["event"] == "check_password"]
        assert (first["id"], second["id"]) == (f"{helper.pid}-1", f"{helper.pid}-2")
        assert (first["door"], first["server"], first["verdict"]) == ("ejabberd", slapd.url, "accepted")
        assert (second["user"], second["verdict"]) == ('juliet"}\x1b[2J,{"verdict"', "refused")
