"""The HTTP methods of Prosody's mod_auth_http, MongooseIM and ejabberd-contrib's ejabberd_auth_http, as a Flask app.

Owns requests, credentials and status codes; the facts about the clients are in docs/clients.md. Passwords come in URLs,
so the logs of whatever serves the app are stripped of queries here. What monitors ask is here as well: `/healthz`,
`/readyz` and `/metrics`. Knows nothing of LDAP.
"""

import base64
import binascii
import hmac
import itertools
import logging
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from ldapauth import config, log
from ldapauth.config import Metrics, Secret, Settings
from ldapauth.deadline import Deadline
from ldapauth.errors import (
    ChangeRefused,
    ConfigurationError,
    DirectoryUnavailable,
    LdapAuthError,
    NoSuchUser,
    OperationOff,
    UserExists,
)
from ldapauth.provider import Provider
from ldapauth.verdict import Verdict

from .redact import strip_queries

if TYPE_CHECKING:
    from ldapauth.metrics import Meter

_log = logging.getLogger(__name__)

MAX_BODY = 65536
"""Bytes of a form: three parameters, each some thousands at most."""

_MAX_PARAMETERS = 16
_RETRY_AFTER = "5"  # seconds

_HEALTH = ("healthz", "readyz")
_PATIENCE = 0.9
"""Seconds for a first word on a directory: Kubernetes gives up after one."""

_NOT_KEPT = {"Cache-Control": "no-store"}

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/-]{1,64}")

_BOOT_ERROR = 3
"""The exit status at which gunicorn gives up; after another it would start workers again and again."""

_Answer = tuple[str, int]


def create_app(config_path: str | None = None) -> Flask:
    """The app, from the configuration file; for `gunicorn 'ldapauth.frontends.http:create_app()'`.

    Raises:
        SystemExit: The configuration can't be used; the log says why, a line for each mistake.
    """
    log.configure(config.Log())
    try:
        settings = config.load(config_path)
        app = build(settings)
    except ConfigurationError as error:
        for problem in error.problems:
            log.event(_log, logging.ERROR, "configuration", problem=problem)
        raise SystemExit(_BOOT_ERROR) from None
    place = log.configure(settings.log)
    log.event(_log, logging.INFO, "start", pid=str(os.getpid()), log=place)
    for warning in settings.warnings:
        log.event(_log, logging.WARNING, "configuration", problem=warning)
    return app


def build(settings: Settings) -> Flask:
    """The app for checked settings.

    Raises:
        ConfigurationError: A directory's settings can't be used, or nothing says who may ask.
    """
    http = settings.http
    if http.credentials is None and not http.insecure_open:
        raise ConfigurationError(
            "http.credentials: is missing (or credentials_file; or insecure_open = true, to answer whoever can connect)"
        )
    strip_queries()
    app = _App("ldapauth", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY + 1  # a body without a length is cut there, so one more shows it
    app.extensions["ldapauth"] = provider = Provider(settings, "http")
    app.register_blueprint(_blueprint(provider, settings, _meter(provider, settings.metrics)))
    return app


class _NoSessions(SessionInterface):
    """No session, and the same one for each request."""

    def __init__(self) -> None:
        self._none = self.null_session_class()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002 - as Flask calls it
        """None that anything could be kept in."""
        return self._none


class _App(Flask):
    """Flask without what every login would pay for: sessions, and routing, as one function answers all."""

    session_interface = _NoSessions()

    def create_url_adapter(self, request: Request | None) -> None:  # noqa: ARG002 - as Flask calls it
        """None, so that no path is looked up."""
        return


def _meter(provider: Provider, settings: Metrics) -> "Meter | None":
    """What counts, if anybody may see it."""
    if settings.credentials is None:
        return None
    from ldapauth.metrics import Meter  # noqa: PLC0415 - 75 ms, and a package, for what is off by default

    meter = Meter()
    meter.watch(provider)
    return meter


def _blueprint(provider: Provider, settings: Settings, meter: "Meter | None") -> Blueprint:
    """All behind one function, before Flask's routing: but for health, nothing answers without credentials."""
    methods = Blueprint("methods", __name__)
    http = settings.http

    @methods.before_app_request
    def answer() -> Response:
        deadline = Deadline.after(http.deadline)
        # As Flask's documentation has it; the proxy would look for it at each attribute.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001
        method = asked.path.lstrip("/")
        if method in _HEALTH:
            return _health(provider, method, asked)
        log.asked.id = _request_id(asked)
        shown = meter if method == "metrics" else None
        if not _may_ask(settings.metrics.credentials if shown else http.credentials, asked):
            log.event(_log, logging.WARNING, "unauthorized", client=asked.remote_addr or "", id=log.asked.id)
            return _response("credentials are needed", 401, {"WWW-Authenticate": 'Basic realm="ldapauth"'})
        if shown:
            return Response(shown.text(), headers=_NOT_KEPT, content_type=shown.content_type)
        if method not in _METHODS:
            return _response("not supported", 501)
        verb, ask = _METHODS[method]
        if asked.method != verb:
            return _response("another verb is needed", 405, {"Allow": verb})
        return _response(*ask(provider, _parameters(asked), deadline))

    methods.app_errorhandler(_BadRequest)(lambda error: _response(str(error), 400))
    methods.app_errorhandler(LdapAuthError)(_failure)
    methods.app_errorhandler(HTTPException)(lambda error: _response(error.name.lower(), error.code))
    methods.app_errorhandler(Exception)(_bug)
    return methods


class _BadRequest(Exception):
    """The request is no question; the text says why, with nothing in it of what was sent."""


def _failure(error: LdapAuthError) -> Response:
    """The answer that an exception of ours means; a refused change says why, an outage nothing of the directory."""
    match error:
        case OperationOff():
            return _response("not supported", 501)
        case NoSuchUser():
            return _response(str(error), 404)
        case UserExists():
            return _response(str(error), 409)
        case ChangeRefused():
            return _response(str(error), 403)
        case DirectoryUnavailable():
            return _response("the directory can't be asked", 503, {"Retry-After": _RETRY_AFTER})
        case _:
            return _bug(error)


def _bug(error: Exception) -> Response:
    log.bug(_log, error)
    return _response("internal error", 500)


def _response(body: str, status: int | None, headers: Mapping[str, str] | None = None) -> Response:
    """An answer, whole and of known length: MongooseIM reads no chunked body."""
    return Response(body, status, {**(headers or {}), **_NOT_KEPT}, content_type="text/plain; charset=utf-8")


def _health(provider: Provider, method: str, asked: Request) -> Response:
    """Whether this process answers (`healthz`), or also the directories behind it (`readyz`), without a word of detail.

    The first must not depend on a directory: a process that is started again because of one helps nobody.
    """
    if asked.method not in ("GET", "HEAD"):
        return _response("another verb is needed", 405, {"Allow": "GET, HEAD"})
    if method == "healthz" or provider.is_ready(asked.args.get("server"), Deadline.after(_PATIENCE)):
        return _response("ok", 200)
    return _response("not ready", 503)


_count = itertools.count(1)


def _request_id(asked: Request) -> str:
    """What whoever stands in front of us calls the request, if it can be a name; else a name of ours."""
    given = asked.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{os.getpid()}-{next(_count)}"


def _may_ask(credentials: tuple[Secret, ...] | None, asked: Request) -> bool:
    """Whether the request has the right credentials, or none are needed.

    Each is compared, whichever is right, so that the time that it takes does not tell them apart.

    Source: RFC 7617. ejabberd-contrib sends `Basic ` with nothing behind it when it has none.
    """
    if credentials is None:
        return True
    scheme, _, token = asked.headers.get("Authorization", "").partition(" ")
    try:
        given = base64.b64decode(token.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    right = [hmac.compare_digest(given, secret.reveal().encode()) for secret in credentials]
    return scheme.lower() == "basic" and any(right)


class _Parameters(dict[str, str]):
    """The parameters of a request; a missing one is a bad request."""

    def __missing__(self, name: str) -> str:
        raise _BadRequest(f"missing parameter: {name}")


def _parameters(asked: Request) -> _Parameters:
    """The parameters: of a GET in the query, of a POST in the body, whatever type the body is said to have.

    MongooseIM posts its form without a Content-Type.

    Raises:
        _BadRequest: They can't be read, or one is there twice.
    """
    raw = asked.query_string if asked.method == "GET" else _body(asked)
    try:
        pairs = urllib.parse.parse_qsl(
            raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except UnicodeDecodeError:
        raise _BadRequest("the parameters are not UTF-8") from None
    except ValueError:
        raise _BadRequest("too many parameters") from None
    parameters = _Parameters(pairs)
    if len(parameters) < len(pairs):
        raise _BadRequest("a parameter is repeated")
    return parameters


def _body(asked: Request) -> bytes:
    """The whole body: half of one holds half a password.

    Raises:
        _BadRequest: It is cut short, or its chunks make no sense.
        RequestEntityTooLarge: It is longer than any question.
    """
    try:
        body = asked.get_data(cache=False)
    except HTTPException:
        raise
    except Exception:  # noqa: BLE001 - whatever the server raises at broken chunks: gunicorn has its own exceptions
        raise _BadRequest("the body can't be read") from None
    if len(body) > MAX_BODY:
        raise RequestEntityTooLarge
    if asked.content_length is not None and len(body) < asked.content_length:
        raise _BadRequest("the body is cut short")
    return body


def _check_password(provider: Provider, given: _Parameters, deadline: Deadline) -> _Answer:
    return _said(provider.check_password(given["user"], given["server"], given["pass"], deadline))


def _user_exists(provider: Provider, given: _Parameters, deadline: Deadline) -> _Answer:
    return _said(provider.user_exists(given["user"], given["server"], deadline))


def _set_password(provider: Provider, given: _Parameters, deadline: Deadline) -> _Answer:
    provider.set_password(given["user"], given["server"], given["pass"], deadline)
    return "", 204


def _register(provider: Provider, given: _Parameters, deadline: Deadline) -> _Answer:
    provider.register(given["user"], given["server"], given["pass"], deadline)
    return "", 201


def _remove_user(provider: Provider, given: _Parameters, deadline: Deadline) -> _Answer:
    provider.remove_user(given["user"], given["server"], deadline)
    return "", 204


def _remove_user_validate(provider: Provider, given: _Parameters, deadline: Deadline) -> _Answer:
    provider.remove_user(given["user"], given["server"], deadline, password=given["pass"])
    return "", 204


def _get_certs(provider: Provider, given: _Parameters, deadline: Deadline) -> _Answer:
    return "".join(provider.certificates(given["user"], given["server"], deadline)), 200


def _said(verdict: Verdict) -> _Answer:
    """Exactly `true` or `false`: the clients compare the body."""
    return ("true" if verdict.accepted else "false"), 200


_METHODS: dict[str, tuple[str, Callable[[Provider, _Parameters, Deadline], _Answer]]] = {
    "check_password": ("GET", _check_password),
    "user_exists": ("GET", _user_exists),
    "set_password": ("POST", _set_password),
    "register": ("POST", _register),
    "remove_user": ("POST", _remove_user),
    "remove_user_validate": ("POST", _remove_user_validate),
    "get_certs": ("GET", _get_certs),
}
