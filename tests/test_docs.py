"""The documentation says what is: its reference of settings, its examples, its links."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
import tomli_w

from ldapauth import config
from ldapauth.directory import kerberos
from ldapauth.errors import ConfigurationError
from ldapauth.provider import Provider
from ldapauth.verdict import Reason
from tests.servers.certificates import Certificates

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = ROOT / "docs" / "configuration.md"

REQUIRED, NOT_SET = "required", "not set"

# Where the examples have their files.
DIRECTORY = "/etc/ldapauth/"


def is_table(hint: object) -> bool:
    """Whether a setting is a table of its own."""
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def sections(kind: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """The TOML tables of the configuration, by the heading of each, and the struct that each becomes."""
    for name, hint in get_type_hints(kind).items():
        if hint == dict[str, config.Domain]:
            heading: str = f'{path}{name}."…"'
            table: type[msgspec.Struct] = config.Domain
        elif is_table(hint):
            heading, table = f"{path}{name}", hint
        elif get_origin(hint) is tuple and is_table(get_args(hint)[0]):
            heading, table = f"[{path}{name}]", get_args(hint)[0]
        else:
            continue
        yield heading, table
        yield from sections(table, f"{heading}.")


def settings(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """What a table may hold, apart from further tables."""
    nested = {heading.strip("[]") for heading, _ in sections(kind)}
    return {field.name: field for field in msgspec.structs.fields(kind) if field.name not in nested}


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of the table behind a heading of the reference, by what the first of them has in backticks."""
    _, found, rest = REFERENCE.read_text().partition(f"\n## {heading}\n")
    assert found, f"no heading {heading}"
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {first.strip("`"): others for first, *others in cells}


def default(field: msgspec.structs.FieldInfo) -> object:
    """A setting's default in TOML's types, or the words that the reference has for there being none."""
    if field.required:
        return REQUIRED
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return NOT_SET if value is None else tomllib.loads(tomli_w.dumps({"x": value}))["x"]


def choices(hint: object) -> Iterator[str]:
    """The texts that a type allows, where it names them."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for argument in get_args(hint):
            yield from choices(argument)


def examples(language: str) -> Iterator[Any]:
    """Each block of a language in the documents, with an id that says where it stands."""
    for document in DOCUMENTS:
        for block in re.finditer(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL):
            number = document.read_text().count("\n", 0, block.start()) + 1
            yield pytest.param(block[1], id=f"{document.name}:{number}")


def configurations() -> list[Any]:
    """The blocks that are a configuration of ours; MongooseIM's is TOML too."""
    return [example for example in examples("toml") if "domains" in tomllib.loads(example.values[0])]


def anchors(document: Path) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


SECTIONS = dict(sections(config.Settings))


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_is_in_the_reference(name: str) -> None:
    """The reference has a table for each table of the configuration, and a row for each setting and nothing else."""
    assert list(rows(f"`[{name}]`")) == list(settings(SECTIONS[name]))


@pytest.mark.parametrize("name", SECTIONS)
def test_the_reference_has_the_defaults(name: str) -> None:
    """A default in the reference is the one in effect, written as in TOML."""
    documented = {key: cells[1] for key, cells in rows(f"`[{name}]`").items()}
    for key, field in settings(SECTIONS[name]).items():
        cell = documented[key]
        value = tomllib.loads(f"x = {cell.strip('`')}")["x"] if cell.startswith("`") else cell
        assert (key, value) == (key, default(field))


@pytest.mark.parametrize("name", SECTIONS)
def test_the_reference_has_the_choices(name: str) -> None:
    """Where only certain texts are allowed, the reference names them and no others."""
    hints = get_type_hints(SECTIONS[name])
    for key, (kind, *_) in rows(f"`[{name}]`").items():
        assert (key, sorted(re.findall(r'`"([\w-]+)"`', kind))) == (key, sorted(choices(hints[key])))


def test_the_tables_are_all_of_the_configuration() -> None:
    """The reference describes no table that a configuration can't have."""
    headings = re.findall(r"^## `\[(.*)\]`$", REFERENCE.read_text(), re.MULTILINE)
    assert headings == list(SECTIONS)


def test_every_reason_is_documented() -> None:
    """Each word that the log has for a refused question is explained, and no other is."""
    assert list(rows("The log")) == [reason.value for reason in Reason]


def test_every_operation_is_documented() -> None:
    """The reference says of each operation what it lets a user do."""
    assert list(rows("Operations")) == list(get_args(config.Operation))


@pytest.mark.parametrize("text", configurations())
def test_configurations_in_the_documents_work(
    text: str, tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of a configuration loads once its files are there, and the extras."""
    monkeypatch.setattr(kerberos, "is_installed", lambda: True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in set(re.findall(rf'"(?:{DIRECTORY}|\$CREDENTIALS_DIRECTORY/)([^"]+)"', text)):
        pair = {"client.pem": certificates.client.certificate, "client-key.pem": certificates.client.key}
        content = (
            pair.get(name, certificates.ca).read_text()
            if name.endswith(".pem")
            else "user:secret-of-thirty-two-characters\n"
        )
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "ldapauth.toml"
    file.write_text(text.replace(DIRECTORY, f"{tmp_path}/"))
    loaded = config.load(str(file))
    Provider(loaded)
    assert loaded.warnings == ()


def test_every_dependency_is_explained() -> None:
    """The list of dependencies has a row for each package that the project asks for, and no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += [name for extra in project["project"]["optional-dependencies"].values() for name in extra]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in asked}  # type: ignore[index]
    listed = re.findall(r"^\| ([\w-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    assert sorted(set(listed) - {"Package", "---"}) == sorted(names - {project["project"]["name"]})


def test_there_are_configurations_in_the_documents() -> None:
    """The examples of the README and of the reference are among those tried."""
    documents = {example.id.partition(":")[0] for example in configurations()}
    assert documents >= {"README.md", "configuration.md"}


def test_the_mistakes_are_real(tmp_path: Path) -> None:
    """The reference's example of mistakes shows what is said about its configuration."""
    example = r"^```toml mistaken\n(.*?)^```$.*?^```text\n(.*?)^```$"
    found = re.search(example, REFERENCE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    file = tmp_path / "ldapauth.toml"
    file.write_text(found[1])
    with pytest.raises(ConfigurationError) as caught:
        config.load(str(file))
    assert list(caught.value.problems) == found[2].splitlines()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    """What a document links to in this repository is there, with the heading that is named."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


# What documents for administrators call by its name, of ours and of the XMPP servers.
GUIDES = [document for document in DOCUMENTS if document.name not in {"CHANGELOG.md", "design.md", "clients.md"}]
FOREIGN = r"(external|http)_auth_\w+|password\.format|connection\.\w+|auth\.\w+|ejabberd\.yml|uid|cn|sn"


def named_settings(text: str) -> set[str]:
    """What a text takes for a setting: `section.name`, or what is given a value, in backticks."""
    sections = "|".join(name for name in SECTIONS if name.isalpha())
    given = re.findall(r"`([a-z_.]+) = ", text)
    return {*given, *re.findall(rf"`((?:{sections}|register)\.[a-z_]+)`", text)}


@pytest.mark.parametrize("document", GUIDES, ids=lambda document: document.name)
def test_named_settings_exist(document: Path) -> None:
    """A setting that a document names outside of its examples is one of ours, or of an XMPP server."""
    known = {key for table in SECTIONS.values() for key in settings(table)}
    dotted = {f"{name.rpartition('.')[2]}.{key}" for name, table in SECTIONS.items() for key in settings(table)}
    named = {name for name in named_settings(document.read_text()) if not re.fullmatch(FOREIGN, name)}
    assert named - known - dotted == set()


def test_index_has_every_document() -> None:
    """The index of the documents leads to each of them."""
    linked = re.findall(r"\]\(([\w-]+\.md)", (ROOT / "docs" / "README.md").read_text())
    assert {*linked, "README.md"} == {document.name for document in (ROOT / "docs").glob("*.md")}


SHELL_BLOCKS = {
    "README.md": "test_readme",
    "configuration.md": "test_quick_start",
    "doctor.md": "test_quick_start",
    "quick-start.md": "test_quick_start",
}
# Not run: it would install from the network what the tests have, and signal every helper of the machine.
NOT_RUN = {"/opt/ldapauth/bin/pip install '.[metrics]'\n", "pkill -HUP -f ldapauth-ejabberd\n"}


def test_every_shell_block_is_run() -> None:
    """Commands stand in those documents alone whose blocks a test runs, but for two."""
    with_commands = {
        document.name
        for document in DOCUMENTS
        if set(re.findall(r"^```sh\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)) - NOT_RUN
    }
    assert with_commands == set(SHELL_BLOCKS)
    assert all((ROOT / "tests" / f"{test}.py").exists() for test in SHELL_BLOCKS.values())
