"""A private ejabberd node whose users are checked by a helper program (its `extauth`)."""

import base64
import json
import os
import re
import shlex
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers.process import Daemon, ProcessInfo, ServerError, accepts, descendants, find_program, process_info

INSTALL_COMMAND = "apt-get install ejabberd"
DEFAULT_HOST = "example.com"

# ejabberd waits 30 seconds for a helper's answer; it is ejabberd that must give up first, for its answer to be seen.
_ANSWER_SECONDS = 45.0

# Evaluates expressions sent to a Unix socket. Without distributed Erlang there is no other way in, but also no epmd,
# no cookie and no port open to the network. It runs in processes of its own, for the node to finish its start.
_CONTROL = """\
Evaluate = fun(Text) ->
    try
        {ok, Tokens, _} = erl_scan:string(Text),
        {ok, Expressions} = erl_parse:parse_exprs(Tokens),
        element(2, erl_eval:exprs(Expressions, []))
    catch Class:Reason -> {exception, Class, Reason}
    end
end,
Serve = fun(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Text} ->
            Answer = io_lib:format("~0tp", [Evaluate(unicode:characters_to_list(Text))]),
            gen_tcp:send(Socket, unicode:characters_to_binary(Answer));
        _ -> nothing
    end,
    gen_tcp:close(Socket)
end,
Accept = fun Accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    spawn(fun() -> Serve(Socket) end),
    Accept(Listener)
end,
spawn(fun() ->
    Options = [binary, {ifaddr, {local, os:getenv("CONTROL_SOCKET")}}, {packet, 4}, {active, false}, {backlog, 128}],
    {ok, Listener} = gen_tcp:listen(0, Options),
    Accept(Listener)
end).
"""

# Wrapped in tuples, as Erlang writes a list of small numbers as a text.
_HELPER_PIDS = """\
[{Pid} || Port <- erlang:ports(), {connected, Owner} <- [erlang:port_info(Port, connected)],
          {registered_name, Name} <- [process_info(Owner, registered_name)],
          lists:prefix("extauth_pool_", atom_to_list(Name)),
          {os_pid, Pid} <- [erlang:port_info(Port, os_pid)], is_integer(Pid)].
"""


class Ejabberd(Daemon):
    """An ejabberd of its own, without listeners: `with Ejabberd(["my-helper"]) as ejabberd: ...`.

    The methods named as the functions of `ejabberd_auth` call these in the node, which asks the helper.
    """

    start_seconds = 60.0

    def __init__(
        self,
        command: str | Sequence[str],
        *,
        hosts: Sequence[str] = (DEFAULT_HOST,),
        pool_size: int = 1,
        use_cache: bool = False,
        environment: Mapping[str, str] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Prepares a node; nothing runs yet.

        Args:
            command: The helper's command; a text is for the shell, as in ejabberd's configuration.
            hosts: The domains it serves.
            pool_size: How many helpers run for each domain.
            use_cache: Whether ejabberd remembers passwords.
            environment: More environment variables for the helper.
            options: More top-level options of ejabberd's configuration.

        Raises:
            ServerError: ejabberd is not installed.
        """
        super().__init__("ejabberd")
        self._erl = find_program("erl", INSTALL_COMMAND)
        self._modules = _find_modules()
        self._extra_environment = dict(environment or {})
        self._options: dict[str, object] = {
            "hosts": list(hosts),
            "listen": [],
            "modules": {},
            "auth_method": ["external"],
            "extauth_program": command if isinstance(command, str) else shlex.join(command),
            "extauth_pool_size": pool_size,
            "auth_use_cache": use_cache,
            "loglevel": "info",
            **(options or {}),
        }

    @property
    def log(self) -> str:
        """The node's log; `output` has it too, in short, with what the helper writes on its standard error."""
        if self.running:
            # The node keeps lines back for a while, which tests need not wait for.
            with suppress(ServerError):
                self.evaluate("[logger_std_h:filesync(Handler) || Handler <- logger:get_handler_ids()].")
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def check_password(self, user: str | bytes, domain: str | bytes, password: str | bytes) -> bool:
        """Says whether ejabberd accepts a password."""
        # The second argument is the user to act as: none.
        return _boolean(self.call("check_password", user, b"", domain, password))

    def user_exists(self, user: str | bytes, domain: str | bytes) -> bool:
        """Says whether ejabberd takes a user for one of its own; it also says no when the helper fails."""
        return _boolean(self.call("user_exists", user, domain))

    def set_password(self, user: str | bytes, domain: str | bytes, password: str | bytes) -> bool:
        """Says whether ejabberd takes a password for changed: ejabberd 23.01 does so even if the helper says no."""
        return self.call("set_password", user, domain, password) == "ok"

    def try_register(self, user: str | bytes, domain: str | bytes, password: str | bytes) -> bool:
        """Says whether ejabberd has registered a user."""
        return self.call("try_register", user, domain, password) == "ok"

    def remove_user(self, user: str | bytes, domain: str | bytes, password: str | bytes | None = None) -> bool:
        """Says whether ejabberd takes a user for removed: without a password it does so whatever the helper says."""
        given = (user, domain) if password is None else (user, domain, password)
        return self.call("remove_user", *given) == "ok"

    def ask_impatiently(self, worker: int, domain: str, command: str, seconds: float) -> str:
        """Has one helper asked as for a login, but given up earlier than after ejabberd's 30 seconds.

        Args:
            worker: Which of the pool, counted from 1.
            domain: The virtual host.
            command: What to ask.
            seconds: How long ejabberd waits before it closes the helper's pipe and starts another one.

        Returns:
            The answer as Erlang writes it; an exception if there was none.
        """
        worker_name = f"extauth:worker_name(extauth:pool_name({_binary(domain)}), {worker})"
        end = f"erlang:monotonic_time(millisecond) + {round(seconds * 1000)}"
        return self.evaluate(f"gen_server:call({worker_name}, {{cmd, {_binary(command)}, {end}}}, infinity).")

    def call(self, function: str, *arguments: str | bytes) -> str:
        """Calls a function in the node and returns its result as Erlang writes it.

        Args:
            function: A function of `ejabberd_auth`, or `module:function` for one of another module.
            *arguments: Its arguments, which reach it as binaries, whatever bytes they have.
        """
        qualified = function if ":" in function else f"ejabberd_auth:{function}"
        return self.evaluate(f"{qualified}({', '.join(map(_binary, arguments))}).")

    def evaluate(self, expression: str) -> str:
        """Evaluates an Erlang expression, ended by a full stop, in the node, and returns the value as Erlang writes it.

        Several may be asked for at a time, from several threads. An exception is a value `{exception,Class,Reason}`.

        Raises:
            ServerError: The node has not answered.
        """
        octets = expression.encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(str(self._control_socket))
                connection.sendall(struct.pack(">I", len(octets)) + octets)
                return _receive(connection).decode()
        except OSError as error:
            raise ServerError(f"ejabberd does not answer: {error}") from error

    def helpers(self) -> list[ProcessInfo]:
        """Returns the processes of the helper: those that ejabberd has started, and their descendants."""
        pids = [int(digits) for digits in re.findall(r"\d+", self.evaluate(_HELPER_PIDS))]
        started = [info for info in map(process_info, pids) if info is not None]
        return [*started, *(below for info in started for below in descendants(info.pid))]

    @property
    def _log_file(self) -> Path:
        return self.directory / "ejabberd.log"

    @property
    def _control_socket(self) -> Path:
        return self.directory / "control"

    @property
    def _configuration_file(self) -> Path:
        return self.directory / "ejabberd.yml"

    def _prepare(self) -> None:
        # YAML contains JSON, which needs no care for odd characters.
        self._configuration_file.write_text(json.dumps(self._options, indent=2))

    def _command(self) -> Sequence[str]:
        # A socket's file outlives a node, and would make the next one fail.
        self._control_socket.unlink(missing_ok=True)
        database = ("-mnesia", "dir", json.dumps(str(self.directory / "mnesia")))
        return [self._erl, "-noinput", "-pa", str(self._modules), *database, "-s", "ejabberd", "-eval", _CONTROL]

    def _environment(self) -> Mapping[str, str]:
        # Settings for another node are not to reach this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ERL_", "EJABBERD_"))}
        return {
            **inherited,
            "HOME": str(self.directory),
            "EJABBERD_CONFIG_PATH": str(self._configuration_file),
            "EJABBERD_LOG_PATH": str(self._log_file),
            "ERL_CRASH_DUMP": str(self.directory / "crash.dump"),
            "CONTROL_SOCKET": str(self._control_socket),
            **self._extra_environment,
        }

    def _is_ready(self) -> bool:
        return accepts(self._control_socket)


def _find_modules() -> Path:
    """Returns the directory of ejabberd's compiled modules; the other packages' are where Erlang looks by itself."""
    found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin"), key=lambda path: len(str(path)))
    if not found:
        raise ServerError(f"ejabberd is not installed; install it with: {INSTALL_COMMAND}")
    # Of the two names of the one directory it is the shorter that Erlang takes for that of an application.
    return found[0]


def _binary(value: str | bytes) -> str:
    octets = value.encode() if isinstance(value, str) else value
    return f'base64:decode(<<"{base64.b64encode(octets).decode("ascii")}">>)'


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ServerError(f"ejabberd has answered neither true nor false: {text}")
    return text == "true"


def _receive(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        header = stream.read(4)
        if len(header) < 4:
            raise ConnectionError("the connection was closed")
        return stream.read(int(struct.unpack(">I", header)[0]))
