"""ejabberd's own LDAP module, and ejabberd with `ldapauth-ejabberd`: virtual hosts of one node, timed inside it."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peer import ROOT, WARM_UP, Login, Metric, Peer, Sample, Unavailable, cpu_seconds, draw
from bench.world import Target, World
from tests.servers.ejabberd import INSTALL_COMMAND, Ejabberd
from tests.servers.process import ServerError, descendants

PROGRAM = Path(sys.executable).with_name("ldapauth-ejabberd")
POOL_SIZE = 2
AT_ONCE = 8

# The functions of ejabberd that a login calls. A wrong answer is an exception. The processes share the logins out.
_TIMED = """\
Ask = fun({{User, Password, Right}}) ->
    Right = ejabberd_auth:check_password(User, <<>>, <<"{domain}">>, Password)
end,
Shares = [{shares}],
timer:tc(fun() ->
    Asking = [spawn_monitor(fun() -> lists:foreach(Ask, Share) end) || Share <- Shares],
    lists:foreach(fun({{_, Reference}}) ->
        receive {{'DOWN', Reference, process, _, Reason}} -> normal = Reason end
    end, Asking)
end).
"""


@dataclass(frozen=True)
class _VirtualHost:
    """One of the node's domains."""

    name: str
    key: str
    label: str
    target: Target
    options: dict[str, object]


def peers(world: World) -> list[Peer]:
    """The peers of this family, which share a node."""
    hosts = [host for target in world.targets for host in (_own(target), _ours(world, target), _floor(target))]
    node = _Node(hosts)
    return [VirtualHost(node, host, at_once) for host in hosts for at_once in (1, AT_ONCE)]


def _own(target: Target) -> _VirtualHost:
    """A virtual host with ejabberd's LDAP module."""
    options: dict[str, object] = {
        "auth_method": ["ldap"],
        "ldap_servers": ["localhost"],  # it demands the name of the certificate, not the address
        "ldap_port": target.port,
        "ldap_rootdn": target.service_dn,
        "ldap_password": target.service_password,
        "ldap_base": target.base_dn,
        "ldap_encrypt": "tls" if target.tls else "none",
    }
    if target.tls:
        options |= {"ldap_tls_verify": "hard", "ldap_tls_cacertfile": str(target.ca_file)}
    return _VirtualHost(f"own{target.suffix}.example", "ejabberd-own", "ejabberd's own LDAP", target, options)


def _ours(world: World, target: Target) -> _VirtualHost:
    """A virtual host with our program."""
    name = f"ours{target.suffix}.example"
    options: dict[str, object] = {
        "auth_method": ["external"],
        "extauth_program": f"{PROGRAM} --config {world.configuration(f'ejabberd{target.suffix}', target, name)}",
    }
    return _VirtualHost(name, "ejabberd-ours", "ejabberd, ldapauth-ejabberd", target, options)


def _floor(target: Target) -> _VirtualHost:
    """A virtual host with the least that a program outside of ejabberd can do."""
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "bench.programs.floor_ejabberd", *target.arguments]
    options: dict[str, object] = {"auth_method": ["external"], "extauth_program": " ".join(command)}
    return _VirtualHost(f"floor{target.suffix}.example", "ejabberd-floor", "ejabberd, bare sockets", target, options)


class _Node:
    """The node, which runs while any of its peers does."""

    def __init__(self, hosts: Sequence[_VirtualHost]) -> None:
        self._hosts = hosts
        self._ejabberd: Ejabberd | None = None

    def start(self) -> Ejabberd:
        """The node, running."""
        if self._ejabberd is None:
            try:
                node = Ejabberd(
                    str(PROGRAM),
                    hosts=[host.name for host in self._hosts],
                    pool_size=POOL_SIZE,
                    options={"host_config": {host.name: host.options for host in self._hosts}, "loglevel": "warning"},
                )
            except ServerError:
                raise Unavailable(f"not installed: {INSTALL_COMMAND}") from None
            node.start()
            self._ejabberd = node
        return self._ejabberd

    def stop(self) -> None:
        """Ends it."""
        if self._ejabberd is not None:
            self._ejabberd.close()
            self._ejabberd = None


class VirtualHost(Peer):
    """A virtual host, asked by so many of the node's processes at once."""

    def __init__(self, node: _Node, host: _VirtualHost, at_once: int) -> None:
        several = at_once > 1
        key = f"{host.key}{f'-{at_once}' if several else ''}{host.target.suffix}"
        super().__init__(key, host.label + (f", {at_once} at once" if several else ""), host.target.wire)
        self._node = node
        self._domain = host.name
        self._at_once = at_once

    def start(self) -> None:
        """Starts the node, if no other peer has."""
        self._node.start()

    def measure(self, logins: Sequence[Login]) -> Sample:
        """The logins, shared out over the processes. The CPU is that of the node and its helpers."""
        node = self._node.start()
        self._ask(node, draw(WARM_UP))
        pids = [node.pid, *(info.pid for info in descendants(node.pid))]
        cpu = cpu_seconds(pids)
        seconds = self._ask(node, logins)
        cpu = cpu_seconds(pids) - cpu
        return {Metric.RATE: len(logins) / seconds, Metric.CPU: cpu / len(logins) * 1e6}

    def stop(self) -> None:
        """Ends the node."""
        self._node.stop()

    def _ask(self, node: Ejabberd, logins: Sequence[Login]) -> float:
        """Seconds until everything is answered."""
        shares = ", ".join(_erlang(logins[first :: self._at_once]) for first in range(self._at_once))
        answer = node.evaluate(_TIMED.format(domain=self._domain, shares=shares))
        timed = re.fullmatch(r"\{(\d+),ok\}", answer)
        if timed is None:
            raise RuntimeError(f"{self.key}: a wrong answer: {answer}")
        return int(timed[1]) / 1e6


def _erlang(logins: Sequence[Login]) -> str:
    """A list of logins as Erlang writes it."""
    terms = (f'{{<<"{each.user}">>, <<"{each.password}">>, {str(each.right).lower()}}}' for each in logins)
    return f"[{', '.join(terms)}]"
