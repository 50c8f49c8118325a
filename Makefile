# Milepost needs Python 3.11 or newer and make; everything else comes into .venv by `make setup`.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := milepost collector correlator sla anomaly alerting exports dashboards simulator
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# One more than cores of a small machine: some tests wait for processes that they have started.
WORKERS ?= 3
FUZZ_EXAMPLES ?= 500
PYTEST := $(BIN)/python -m pytest
# Where a machine sets it, each process that starts would compile all of Milepost anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup lock demo run test test-services fuzz lint check bench services services-down clean faults year

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install Milepost and its pinned dependencies into .venv

# One stamp for the whole environment: it is remade when the lock or the project file changes, and only then.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Milepost needs Python 3.11 or newer; try: make setup PYTHON=python3.12")'
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the pinned dependencies (about a minute the first time)"
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

LOCK = $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate --quiet

# The second file is the part of the first that the image needs.
lock: setup ## Resolve pyproject.toml into the lock files anew (UPGRADE=1 takes newer versions)
	$(LOCK) $(if $(UPGRADE),--upgrade) --group dev -o requirements.lock
	$(LOCK) --upgrade --group build --constraint requirements.lock -o requirements-runtime.lock

demo: setup ## Start Milepost on a simulated distribution network
	@$(BIN)/milepost demo

run: setup ## Start Milepost
	@$(BIN)/milepost run

test: setup ## Run the test suite on the embedded PostgreSQL
	$(PYTEST) -n $(WORKERS) tests

# Twice: what needs a service of its own, then all that speaks to the database once more, on TimescaleDB.
test-services: setup ## The suites on real services (make services; source its env file)
	$(PYTEST) -n $(WORKERS) --require-services -m "timescale or odoo or browser" tests
	$(PYTEST) -n $(WORKERS) --database=timescale -m "not timescale and not odoo and not browser" \
		tests/integration tests/conformance

fuzz: setup ## Send hostile requests made from openapi.json, FUZZ_EXAMPLES an operation
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) tests/conformance/openapi

faults: setup ## Every fault under load: how many events were lost and doubled (MINUTES=0.1)
	$(BIN)/python -m tests.integration.faults --minutes $(or $(MINUTES),0.1)

year: setup ## A simulated year through the whole chain: its breaches are an oracle's (DAYS=365)
	$(BIN)/python -m tests.integration.year --days $(or $(DAYS),365)

lint: setup ## Style, types, imports and schema, without the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	$(BIN)/milepost db check

check: lint test ## Everything that CI runs on the embedded PostgreSQL

bench: setup ## Run every benchmark at a small size
	@set -e; for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(BIN)/python "$$script" --small; \
	done

services: setup ## Start the real services that the integration tests use (Debian, as root)
	tests/integration/services/up

services-down: ## Stop them
	tests/integration/services/down

clean: ## Remove the environment and the caches
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
