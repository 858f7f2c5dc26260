# Each target sets up what it needs; `make test` and `make demo` are all that a fresh machine has to know.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Arguments for `prelim demo`, pytest and the benchmarks: make demo ARGS="--json"
ARGS ?=

.PHONY: help
help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# PYTHON=... chooses an interpreter; otherwise the first of these that is new enough.
$(BIN)/python:
	@for python in $${PYTHON:-} python3.11 python3.12 python3.13 python3; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "make: $(VENV) from $$python"; \
	        "$$python" -m venv $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "make: $$python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "make: expected Python 3.11 or newer as python3.11 or python3, found none; install one or set PYTHON=" >&2; \
	exit 1

# One stamp for each set of extras: pip runs only when setup.py says something new.
$(VENV)/.extra-%: setup.py pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

.PHONY: demo
demo: $(VENV)/.extra-model ## Run the whole main job on the embedded hospital
	@$(BIN)/prelim demo $(ARGS)

.PHONY: test
test: $(VENV)/.extra-test ## Run the tests; those that need the real peers skip unless `make services` ran
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: $(VENV)/.extra-develop ## Lint, type-check, and check the import law and the deployment files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict -c deploy/.yamllint deploy
	$(BIN)/python -m pytest -q tests/unit/test_house_imports.py tests/unit/test_deploy_files.py

.PHONY: bench
bench: $(VENV)/.extra-bench ## Print every benchmark as a ratio against its peer in the same run
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# The starter needs nothing but Python itself, so it does not wait for the extras.
.PHONY: services
services: | $(BIN)/python ## Install and start HAPI FHIR, Medplum, Keycloak, Orthanc and PostgreSQL on loopback
	@$(BIN)/python -m tests.services start

.PHONY: services-stop
services-stop: | $(BIN)/python ## End what `make services` started
	@$(BIN)/python -m tests.services stop
