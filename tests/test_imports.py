"""Imports point one way: what each module may import, read from its source and seen in real processes."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ldapauth

PACKAGE = Path(ldapauth.__file__).parent


def _name(file: Path) -> str:
    """The name of the module in a file."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
EACH_MODULE = pytest.mark.parametrize("module", MODULES)

LEAVES = ["errors", "verdict", "jid", "certificate", "deadline", "kinds", "config", "log"]

# What of the package a module, or what is in a package, may import; the longest name that fits counts.
ALLOWED = {
    "errors": [],
    "verdict": [],
    "jid": [],
    "certificate": [],
    "deadline": ["errors"],
    "kinds": [],
    "config": ["errors", "kinds"],
    "log": ["config"],
    "directory": [*LEAVES, "directory"],
    "guard": [*LEAVES, "guard"],
    "provider": [*LEAVES, "directory", "guard"],
    "metrics": [*LEAVES, "provider"],
    "frontends": [*LEAVES, "provider", "metrics", "frontends"],
    "demo": [*LEAVES, "provider", "frontends", "demo"],
    "doctor": [*LEAVES, "directory", "guard", "provider", "doctor"],
    "cli": [*LEAVES, "provider", "frontends", "demo", "doctor"],
    "__main__": ["cli"],
}

# Who may import a library, for those that not everybody may.
OWNERS = {
    "gssapi": ["directory.kerberos"],
    "ldap3": ["directory"],
    "flask": ["frontends.http"],
    "werkzeug": ["frontends.http"],
    "msgspec": ["config"],
    "pyasn1": ["certificate"],
    "pyasn1_modules": ["certificate"],
    "dns": ["directory.srv"],
    "cachetools": ["guard"],
    "limits": ["guard.ceiling"],
    "redis": ["guard.ceiling", "guard.shared"],
    "prometheus_client": ["metrics"],
    "click": ["cli", "demo", "doctor.report"],
    "tomli_w": ["cli"],
    "ldaptor": ["demo"],
    "twisted": ["demo"],
    "gunicorn": [],
}


def imports(module: str) -> Iterator[str]:
    """The full names of what a module imports, wherever in it, also for the type checker alone."""
    file = MODULES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            yield from (_imported(base, alias.name) for alias in node.names)


def _base(node: ast.ImportFrom, package: str) -> str:
    """The full name of the module that stands behind `from`."""
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _imported(base: str, name: str) -> str:
    """The module that `from base import name` imports: a module of that name, or the one that has the name."""
    return f"{base}.{name}" if f"{base}.{name}" in MODULES else base


def within(module: str, places: list[str]) -> bool:
    """Whether a module is one of these of the package, or in one of them."""
    return any(f"{module}.".startswith(f"ldapauth.{place}.") for place in places)


def ours(module: str) -> list[str]:
    """What a module imports of the package; the package itself has nothing in it."""
    return [name for name in imports(module) if name.startswith("ldapauth.")]


def foreign(module: str) -> list[str]:
    """The libraries, neither the package's nor the standard ones, that a module imports."""
    tops = {name.partition(".")[0] for name in imports(module)}
    return sorted(tops - {"ldapauth"} - sys.stdlib_module_names)


@EACH_MODULE
def test_imports_point_one_way(module: str) -> None:
    """A module imports nothing of the package but what lies below it."""
    places = [place for place in ALLOWED if within(module, [place])]
    if module == "ldapauth":
        assert ours(module) == []
    else:
        allowed = ALLOWED[max(places, key=len)]
        assert [name for name in ours(module) if not within(name, allowed)] == []


@EACH_MODULE
def test_libraries_have_owners(module: str) -> None:
    """A module imports no library that is another's to use, and none that nobody owns."""
    assert [library for library in foreign(module) if not within(module, OWNERS.get(library, []))] == []


@pytest.mark.parametrize("library", [library for library, owners in OWNERS.items() if owners])
def test_libraries_are_used(library: str) -> None:
    """Each library that has an owner is imported by it."""
    assert any(library in foreign(module) for module in MODULES)


def test_every_module_was_seen() -> None:
    """The modules read here are those that there are, and relative imports in them are understood."""
    assert {
        "ldapauth",
        "ldapauth.cli",
        "ldapauth.directory",
        "ldapauth.directory.wire",
        "ldapauth.frontends.http",
    } <= set(MODULES)
    assert "ldapauth.directory.wire" in ours("ldapauth.directory")
    assert "ldapauth.frontends.terminal" in ours("ldapauth.frontends.stdio")
    assert "ldapauth.config" in ours("ldapauth.log")
    assert "ldap3" in foreign("ldapauth.directory.connection")


@functools.cache
def loaded(module: str) -> set[str]:
    """The top names of all modules that importing one in a fresh process loads."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "", f"importing {module} prints"
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "library",
    ["flask", "werkzeug", "jinja2", "gunicorn", "click", "twisted", "ldaptor", "tomli_w", "prometheus_client"],
)
def test_a_helper_loads_no_web_framework(library: str) -> None:
    """A helper's process, of which XMPP servers start many, loads nothing that only other programs need."""
    assert library not in loaded("ldapauth.frontends.stdio")


def test_a_helper_loads_what_it_needs() -> None:
    """A helper's process has the directories behind it."""
    assert {"ldapauth", "ldap3", "msgspec"} <= loaded("ldapauth.frontends.stdio")


def test_a_helper_begins_with_the_standard_library_alone() -> None:
    """Until its descriptors are in order, a helper has loaded nothing that could print on them."""
    assert loaded("ldapauth.frontends.helper") - sys.stdlib_module_names == {"ldapauth"}


@pytest.mark.parametrize("module", ["ldapauth.frontends.stdio", "ldapauth.frontends.http", "ldapauth.cli"])
def test_importing_prints_nothing(module: str) -> None:
    """Importing what a program consists of prints nothing: on Prosody's terminal a warning is an answer."""
    assert "ldapauth" in loaded(module)
