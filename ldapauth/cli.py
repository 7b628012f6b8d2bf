"""The command `ldapauth`: what an administrator types. Owns arguments, prompts and exit statuses, and no logic."""

import sys
from collections.abc import Callable
from typing import TextIO, TypeVar

import click
import tomli_w

from . import config, log
from .deadline import Deadline
from .errors import ConfigurationError, DirectoryUnavailable, OperationOff, printable
from .frontends import helper
from .provider import Provider

_T = TypeVar("_T")

_REFUSED, _UNAVAILABLE = 1, 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ldapauth")
@click.option(
    "--config", "path", metavar="FILE", help="The configuration; else $LDAPAUTH_CONFIG, else /etc/ldapauth.toml."
)
@click.pass_context
def main(context: click.Context, path: str | None) -> None:
    """Checks the passwords of XMPP users in an LDAP directory."""
    context.obj = path


@main.command()
@click.pass_obj
def generic(path: str | None) -> None:
    """Serve the generic line protocol on standard input and output (Prosody)."""
    helper.serve("generic", path)


@main.command()
@click.pass_obj
def ejabberd(path: str | None) -> None:
    """Serve ejabberd's protocol on standard input and output."""
    helper.serve("ejabberd", path)


@main.command()
@click.argument("jid", metavar="USER@DOMAIN")
@click.option(
    "--password-file", metavar="FILE", type=click.File(encoding="utf-8"), help="Has the password; - is stdin."
)
@click.option(
    "--operation",
    type=click.Choice(["login", "exists"]),
    default="login",
    show_default=True,
    help="What to ask; for the latter no password is needed.",
)
@click.pass_obj
def check(path: str | None, jid: str, password_file: TextIO | None, operation: str) -> None:
    """Ask as an XMPP server does, and say each step with its time, whether the user may log in, and why not.

    The exit status is 0 for yes, 1 for no, and 2 when there is no answer.
    """
    from .doctor import login  # noqa: PLC0415 - a helper may be started by this program too

    settings = _settings(path, http=False)
    provider = _or_exit(lambda: Provider(settings, opener=login.told(click.echo)))
    local_part, at, domain = jid.rpartition("@")
    if not at:
        raise click.UsageError("expected USER@DOMAIN")
    try:
        password = "" if operation == "exists" else _password(password_file)
        click.echo(login.beginning(settings, local_part, domain))
        limit = Deadline.after(config.Generic().deadline)
        if operation == "exists":
            verdict = provider.user_exists(local_part, domain, limit)
        else:
            verdict = provider.check_password(local_part, domain, password, limit)
    except (click.Abort, UnicodeError):
        click.echo("no answer: no password was given", err=True)
        sys.exit(_UNAVAILABLE)
    except (DirectoryUnavailable, OperationOff) as error:
        click.echo(f"no answer: {printable(str(error))}", err=True)
        sys.exit(_UNAVAILABLE)
    if verdict.reason:
        click.echo(f"refused: {verdict.reason.sentence}")
        sys.exit(_REFUSED)
    click.echo(f"accepted: {verdict.notice}" if verdict.notice else "accepted")


@main.command("config")
@click.pass_obj
def show_config(path: str | None) -> None:
    """Check the configuration and print what is in effect, without its secrets."""
    settings = _settings(path)
    _provider(settings)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    if settings.http.credentials is None and not settings.http.insecure_open:
        click.echo("note: without http.credentials the app does not start; the helpers do", err=True)
    click.echo(f"# {config.locate(path)}: no mistakes. What follows is in effect; no server was asked.")
    for name, domain in settings.domains.items():
        if left := config.left_to_directory(domain):
            click.echo(f"# {config.domain_path(name)}: as is usual in the directory that answers: {', '.join(left)}.")
    click.echo(tomli_w.dumps(config.masked(settings)), nl=False)


@main.command()
@click.argument("domains", metavar="[DOMAIN]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print an object for programs.")
@click.pass_obj
def doctor(path: str | None, domains: tuple[str, ...], *, as_json: bool) -> None:
    """Ask the directories everything that can be wrong, and say what to do about it.

    Nothing is written to a directory. The exit status is 0 if nothing is wrong, 1 if there are only warnings, and 2 if
    there are problems.
    """
    from .doctor import examine, report  # noqa: PLC0415 - a helper may be started by this program too

    lines = examine(path, domains)
    sys.exit(report.as_json(lines) if as_json else report.as_text(lines))


@main.command()
@click.option("--http-port", default=8389, show_default=True, help="Where the app listens.")
@click.option("--ldap-port", default=3389, show_default=True, help="Where the directory listens.")
def demo(http_port: int, ldap_port: int) -> None:
    """Start an embedded directory and the app on loopback, and print what to try."""
    from .demo import run  # noqa: PLC0415 - only here: it starts servers

    sys.exit(run(http_port, ldap_port))


def _settings(path: str | None, *, http: bool = True) -> config.Settings:
    log.configure(config.Log(target="none"))  # what there is to say is printed
    return _or_exit(lambda: config.load(path, http=http))


def _password(file: TextIO | None) -> str:
    """The password: from a file, without the line break at its end, or typed.

    Raises:
        click.Abort: There is none to be had.
        UnicodeError: It is no text.
    """
    if file is not None:
        return file.read().removesuffix("\n").removesuffix("\r")
    return str(click.prompt("Password", hide_input=True, default="", show_default=False, err=True))


def _provider(settings: config.Settings) -> Provider:
    return _or_exit(lambda: Provider(settings))


def _or_exit(make: Callable[[], _T]) -> _T:
    """What a function makes of the configuration; where it can't, a line for each mistake and the end."""
    try:
        return make()
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(_UNAVAILABLE)
