"""Makes ldapauth.toml(5) when the package is built; hatchling runs it."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SUMMARY = "the configuration of ldapauth"


class Manual(BuildHookInterface[Any]):
    """Adds the page to what a wheel installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        """Writes the page, and says where it belongs."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        made = root / "build" / "ldapauth.toml.5"
        made.parent.mkdir(exist_ok=True)
        document = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
        text: str = _load(root / "man" / "page.py").page(document, "ldapauth.toml", 5, _SUMMARY)
        made.write_text(text, encoding="utf-8")
        build_data["shared_data"][str(made)] = "share/man/man5/ldapauth.toml.5"


def _load(path: Path) -> ModuleType:
    """The module in a file: the project's directory is not where modules are imported from in a build."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec  # noqa: S101 - a file that ends with .py has one
    assert spec.loader  # noqa: S101 - likewise
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
