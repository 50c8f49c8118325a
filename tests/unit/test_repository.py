"""What every file of the repository keeps to: size, no machine's paths, no package host's address."""

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("milepost", "collector", "correlator", "sla", "anomaly", "alerting", "exports", "dashboards", "simulator")

FILE_LINES = 400
FUNCTION_LINES = 60

# Each exception says why; one that is needed no longer fails the test.
LONG_FILES = {
    "milepost/db/migrations/versions/0001_the_first_schema.py": "written by Alembic: all tables of the first version",
    "milepost/db/tables.py": "one table after the other: the schema is read, and diffed, in one place",
}
LONG_FUNCTIONS = {
    "milepost.db.migrations.versions.0001_the_first_schema.upgrade": "written by Alembic: one statement a table",
}

# Written so that this file doesn't contain what it looks for.
PACKAGE_HOSTS = re.compile(
    r"pypi[.]org|pythonhosted[.]org|\bdeb[.]debian|(snapshot|security|archive)[.]debian|archive[.]ubuntu"
    r"|registry[.]npmjs|/opt[/](pypi|wheels)"
)
MACHINE_PATHS = re.compile(r"(?<![\w.$}~])/(root|work|Users|home/\w+)/(?!\.\.\.)[\w.]")


def tracked() -> list[Path]:
    """The files that git knows and that are there."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git isn't installed")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """(name, text) of every tracked text file."""
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data:
            yield path.relative_to(ROOT).as_posix(), data.decode("utf-8")


def sources() -> list[Path]:
    """The application's own modules."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function in a file, decorators and docstring not counted."""
    module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            docstring = node.body[0]
            skipped = (docstring.end_lineno or 0) - docstring.lineno + 1 if documented else 0
            yield f"{module}.{node.name}", (node.end_lineno or 0) - node.lineno + 1 - skipped


def test_files_are_short() -> None:
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in sources()}
    too_long = {name: count for name, count in lines.items() if count > FILE_LINES}
    assert too_long.keys() == LONG_FILES.keys(), too_long


def test_functions_are_short() -> None:
    too_long = {name: count for path in sources() for name, count in functions(path) if count > FUNCTION_LINES}
    assert too_long.keys() == LONG_FUNCTIONS.keys(), too_long


def test_no_grab_bag_modules() -> None:
    names = {"utils.py", "util.py", "common.py", "helpers.py", "types.py", "misc.py"}
    assert [str(path) for path in sources() if path.name in names] == []


def test_nothing_names_a_package_host_or_a_path_of_one_machine() -> None:
    found = [
        f"{name}: {match.group()}"
        for name, text in texts()
        for pattern in (PACKAGE_HOSTS, MACHINE_PATHS)
        for match in pattern.finditer(text)
    ]
    assert found == []


def locked(file: str) -> dict[str, str]:
    """The entries of a lock file by name."""
    entries = re.split(r"\n(?=\S)", (ROOT / file).read_text("utf-8").strip())
    # A version may differ between Pythons: then there are two entries, told apart by their marker.
    return {re.split(r" \\\n", entry)[0]: entry for entry in entries}


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-runtime.lock"])
def test_a_lock_pins_every_package_by_hash_and_names_no_address(file: str) -> None:
    assert not re.search(r"://|^\s*--(index|extra|find|trusted)", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    for name, entry in locked(file).items():
        assert re.match(r"[a-z0-9-]+==[\w.]+( ; .+)?$", name), name
        assert "--hash=sha256:" in entry, name


def test_the_image_gets_the_versions_that_were_tested() -> None:
    def packages(file: str) -> set[str]:
        return {name.partition(" ;")[0] for name in locked(file)}

    assert packages("requirements-runtime.lock") < packages("requirements.lock")


def test_the_lock_holds_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    declared = [*project["project"]["dependencies"], *groups["build"], *groups["dev"]]
    names = {re.split(r"[\[<>=!~; ]", item)[0].lower() for item in declared if isinstance(item, str)}
    assert names - {name.partition("==")[0] for name in locked("requirements.lock")} == set()


def test_it_is_an_application_that_no_index_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]
    assert project["license"] == "Apache-2.0"


def test_every_package_is_listed_where_it_must_be() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert config["importlinter"]["root_packages"] == list(PACKAGES)
    assert config["setuptools"]["packages"]["find"]["include"] == [f"{package}*" for package in PACKAGES]
    assert f"PACKAGES := {' '.join(PACKAGES)}\n" in (ROOT / "Makefile").read_text("utf-8")
