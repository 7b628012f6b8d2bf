# `make demo` tries it out, `make test` runs the tests, `make test-all` those with Active Directory and 389 DS as well,
# `make check` is what a change must pass.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Two files side by side, for much of the time is waiting; the tests of one share its servers.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile

.PHONY: demo test test-all check lint servers all-servers bench clean

demo: $(VENV)/demo.installed
	$(BIN)/ldapauth demo

test: $(VENV)/test.installed servers
	$(PYTEST) -m "not samba and not ds389"

test-all: all-servers $(VENV)/kerberos.installed
	$(PYTEST)

check: lint test-all

lint: $(VENV)/test.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Prints what a login costs beside the peers; see docs/performance.md.
bench: $(VENV)/test.installed
	$(BIN)/python -m bench

servers:
	sh tests/servers/install.sh slapd ldap-utils ejabberd curl lua5.2 lua-lpty openssl \
	    nginx-light systemd prosody logrotate man-db redis-server

all-servers: servers
	sh tests/servers/install.sh samba samba-ad-dc samba-ad-provision samba-dsdb-modules winbind ldb-tools \
	    389-ds-base libnss3-tools gcc libkrb5-dev python3-dev

# A Python without its own `python3.11` name will do, if it is 3.11 or later.
$(VENV)/bin/python:
	$$(command -v $(PYTHON) || command -v python3) -m venv $(VENV)

$(VENV)/demo.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary ldapauth -e '.[demo]'
	touch $@

$(VENV)/test.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

# It has to be compiled, with what Debian has of Kerberos; what is at hand already is not asked for again.
$(VENV)/kerberos.installed: pyproject.toml | $(VENV)/test.installed all-servers
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,kerberos]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
