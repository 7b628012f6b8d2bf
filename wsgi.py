"""`gunicorn wsgi:app`."""

from ldapauth.frontends.http import create_app

app = create_app()
