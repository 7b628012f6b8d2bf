"""The programs `ldapauth-generic` and `ldapauth-ejabberd`, which need no arguments, since Prosody can pass none.

Owns the order of the start: the descriptors first, then everything else, imports included.
"""

import os
import sys
import warnings

from . import terminal

_USAGE = "usage: {program} [--config FILE]      (or LDAPAUTH_CONFIG in the environment; default /etc/ldapauth.toml)\n"


def generic() -> None:
    """Serves the generic line protocol (Prosody's mod_auth_external)."""
    _main("generic", sys.argv[1:])


def ejabberd() -> None:
    """Serves ejabberd's protocol (ejabberd's extauth, MongooseIM's external)."""
    _main("ejabberd", sys.argv[1:])


def _main(protocol: str, arguments: list[str]) -> None:
    match arguments:
        case []:
            serve(protocol, None)
        case ["--config", path]:
            serve(protocol, path)
        case _:
            sys.stderr.write(_USAGE.format(program=f"ldapauth-{protocol}"))


def serve(protocol: str, config_path: str | None) -> None:
    """Answers questions on standard input until it ends; the exit status is 0 whatever happens.

    After any other status Prosody never starts its helper again, and every login fails until it is reloaded.
    """
    warnings.simplefilter("ignore")  # libraries warn on standard error
    on_terminal = terminal.isolate()
    try:
        from . import stdio  # noqa: PLC0415 - nothing may be imported that could print while the terminal is not in order

        stdio.run(protocol, config_path, on_terminal=on_terminal)
    except BaseException:  # noqa: BLE001 - a broken installation, say
        import traceback  # noqa: PLC0415 - slow to load: see `terminal`

        traceback.print_exc()
    finally:
        os._exit(0)
