"""docker-compose.yml and Dockerfile: valid, in step with the settings, and with health checks that compile."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from milepost.settings import variables

ROOT = Path(__file__).parents[2]
OWN = {"migrate", "collector", "record", "assemble", "scheduler", "dashboards"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return parsed


def test_it_is_valid_by_the_compose_specification() -> None:
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_of_milepost_runs_on_its_own(compose: dict[str, Any]) -> None:
    own = {name: item for name, item in compose["services"].items() if item["image"].startswith("milepost:")}
    assert own.keys() == OWN
    assert {name: item["command"] for name, item in own.items() if name != "migrate"} == {
        name: ["run", name] for name in OWN - {"migrate"}
    }
    assert own["migrate"]["command"] == ["db", "migrate"]


def test_every_service_waits_for_services_that_are_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, item in services.items():
        for other, how in item.get("depends_on", {}).items():
            ready = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}
            assert ready[how["condition"]] in services[other], f"{name} waits for {other}"


def test_every_variable_is_a_setting(compose: dict[str, Any]) -> None:
    texts = [(ROOT / name).read_text("utf-8") for name in ("docker-compose.yml", "Dockerfile", ".env.example")]
    used = set(re.findall(r"\bMILEPOST_[A-Z_]+", "\n".join(texts)))
    assert used - set(variables()) == set()


def test_no_secret_has_a_default(compose: dict[str, Any]) -> None:
    environment = compose["services"]["collector"]["environment"]
    assert environment["MILEPOST_SECRET"] == "${MILEPOST_SECRET:?set it in .env}"
    assert "${POSTGRES_PASSWORD:?set it in .env}" in environment["MILEPOST_DATABASE_URL"]
    example = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert {"MILEPOST_SECRET=", "POSTGRES_PASSWORD="} <= set(example)


def test_every_lasting_service_has_a_health_check_that_compiles(compose: dict[str, Any]) -> None:
    lasting = {name: item for name, item in compose["services"].items() if item.get("restart") == "unless-stopped"}
    for name, item in lasting.items():
        command, *arguments = item["healthcheck"]["test"][1:]
        if command.startswith("python"):
            compile(arguments[1], name, "exec")


def test_the_image_holds_every_package_and_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    ignored = (ROOT / ".dockerignore").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    packages = re.search(r"^PACKAGES := (.+)$", makefile, re.MULTILINE)
    assert packages
    for package in packages[1].split():
        assert f"COPY {package} {package}\n" in text
        assert f"!{package}\n" in ignored
    assert "\nUSER milepost\n" in text
    probe = re.search(r'CMD \["python", "-c", "(.+)"\]', text)
    assert probe
    compile(probe[1], "HEALTHCHECK", "exec")
