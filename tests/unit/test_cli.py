"""The command line where it needs no database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner, Result

from milepost import cli

# Made once: a runner of typer makes all commands anew for each call.
MILEPOST = typer.main.get_command(cli.app)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILEPOST_DATA_DIR", str(tmp_path / "data"))
    for name in ("MILEPOST_DATABASE_URL", "MILEPOST_CATALOG", "MILEPOST_PORT"):
        monkeypatch.delenv(name, raising=False)


def milepost(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all commands below `group`."""
    below = getattr(group, "commands", {})
    return [found for name, item in below.items() for found in [(*path, name), *commands(item, (*path, name))]]


@pytest.mark.parametrize("path", commands(MILEPOST), ids=" ".join)  # type: ignore[arg-type]
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        MILEPOST([*path, "--help"], prog_name="milepost")
    assert left.value.code == 0
    assert f"Usage: milepost {' '.join(path)} " in " ".join(capsys.readouterr().out.split())


def test_help_loads_nothing_slow() -> None:
    slow = ["sqlalchemy", "psycopg", "fastapi", "dash", "pandas", "sklearn", "alembic", "msgspec", "argon2"]
    code = (
        "import sys; from typer.testing import CliRunner; from milepost import cli;"
        "result = CliRunner().invoke(cli.app, ['--help']); assert result.exit_code == 0;"
        f"print([name for name in {slow!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_schema_of_the_contract_is_json_schema() -> None:
    schema = json.loads(milepost("contract", "schema").stdout)
    assert "$ref" in schema or "properties" in schema


def test_a_setting_that_cannot_be_used_is_one_line_and_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_PORT", "none")
    result = milepost("run")
    assert result.exit_code == 2
    assert result.stderr.startswith("milepost: MILEPOST_PORT: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_database_that_is_away_is_one_line_and_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    result = milepost("keys", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("milepost: database: ")
    assert "Traceback" not in result.stderr


def test_what_does_not_exist_is_a_usage_error() -> None:
    assert milepost("fly").exit_code == 2
    assert milepost("run", "everything").exit_code == 2


def test_the_built_in_catalog_can_be_used() -> None:
    result = milepost("catalog", "check")
    assert result.exit_code == 0
    assert "The catalog can be used: version " in result.stderr


def test_one_policy_is_not_policies(tmp_path: Path) -> None:
    text = "policies: [{name: late, kind: between, model: order, start: received, end: confirmed, within: 4h}]"
    (tmp_path / "slas.yaml").write_text(text)
    said = milepost("catalog", "check", str(tmp_path)).stderr
    assert ", 1 policy, " in said
    assert " journey models, " in said


def test_a_faulty_catalog_is_told_by_file_and_place(tmp_path: Path) -> None:
    (tmp_path / "slas.yaml").write_text("policies: [{name: late, kind: between, model: order, within: 15x}]")
    result = milepost("catalog", "check", str(tmp_path))
    assert result.exit_code == 1
    assert "slas.yaml:1: late" in result.stderr
    assert '"15x" is not a duration' in result.stderr


@pytest.mark.parametrize("name", ["slas.yml", "mappings/own.yml"])
def test_a_file_that_would_count_for_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "mappings").mkdir()
    (tmp_path / name).write_text("policies: []")
    result = milepost("catalog", "check", str(tmp_path))
    right = Path(name).with_suffix(".yaml").name
    assert result.exit_code == 1
    assert result.stderr.endswith(f"{name}: the names of catalog files end in .yaml; rename it to {right}\n")


def test_a_file_that_can_not_be_read_is_one_line_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "slas.yaml"
    path.write_bytes("policies: []\n# für".encode("latin-1"))
    result = milepost("catalog", "check", str(tmp_path))
    said = f"milepost: {path}:2: this is not UTF-8; save the file as UTF-8\n"
    assert (result.exit_code, result.stderr) == (1, said)
    path.unlink()
    path.mkdir()
    result = milepost("catalog", "check", str(tmp_path))
    assert (result.exit_code, result.stderr) == (1, f"milepost: {path}: Is a directory\n")
    result = milepost("mapping", "test", "odoo-webhook", str(path))
    assert (result.exit_code, result.stderr) == (1, f"milepost: {path}: Is a directory\n")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = milepost("catalog", "check", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "there is no such folder" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        "journeys reverse N --reason x",
        "journeys reused --days N",
        "quarantine show N",
        "quarantine discard 1 N",
        "quarantine list --group N",
        "alerts ack N",
        "alerts retry N",
        "alerts list --limit N",
        "silences end N",
        "oncall override end N",
        "gaps --newest N",
        "catalog versions --limit N",
        "audit list --limit N",
        "folders files --limit N",
    ],
)
def test_a_number_that_is_too_large_is_a_usage_error(words: str) -> None:
    result = milepost(*words.replace("N", str(10**20)).split())
    assert result.exit_code == 2
    assert "Invalid value for" in result.stderr


def test_a_pipe_gets_tables_whole() -> None:
    """In a process of its own: where results go is looked at when it starts."""
    code = "from milepost.cli.output import table; table('a', 'b', rows=[('x' * 5000, 'last')], empty='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1].split() == ["x" * 5000, "last"]


def test_the_version() -> None:
    assert milepost("version").stdout.strip().count(".") == 2


def test_mapping_test_says_what_each_expression_gave_and_fails_when_nothing_comes_out(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("events: [{type: a.b, time: body.at, keys: {order: body.o}}]")
    (tmp_path / "good.json").write_text('{"o": 1, "at": "2026-11-20"}')
    (tmp_path / "lines.ndjson").write_text('{"o": 1, "at": "soon"}\n{"o": 2}\n')
    done = milepost("mapping", "test", str(tmp_path / "m.yaml"), str(tmp_path / "good.json"))
    assert (done.exit_code, json.loads(done.stdout)["data"]) == (0, {"keys": {"order": ["1"]}})
    assert "events[0].keys.order: body.o -> 1" in done.stderr
    done = milepost("mapping", "test", str(tmp_path / "m.yaml"), str(tmp_path / "lines.ndjson"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert 'fault: events[0].time: "soon" is no date of a known form' in done.stderr
    assert "left out: events[0].time: body.at is empty" in done.stderr
