"""The least that a login over HTTP can cost under Flask: a route that answers `true` without a look at anything."""

from flask import Flask, Response

app = Flask("answers_true", static_folder=None)


@app.get("/check_password")
def check_password() -> Response:
    """Accepts everybody."""
    return Response("true", content_type="text/plain; charset=utf-8")
