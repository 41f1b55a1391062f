# Each target sets up all that it needs in .venv; only Python ≥ 3.11 and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests mostly wait, for servers and for time to pass: half of two cores lies idle with a worker for each.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(max(2, min(8, 2 * len(os.sched_getaffinity(0)))))')

.PHONY: demo test up down lint lock schema bench simulate screenshots clean

$(VENV)/.runtime: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "golive needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.runtime  ## one release that goes well and one that is rolled back, on this machine, in two minutes
	@$(BIN)/python -m examples.demo

up: $(VENV)/.runtime  ## the Prefect server, a worker and all deployments; prints the UI's address
	@$(BIN)/golive up

down: $(VENV)/.runtime  ## stop what `make up` started
	@$(BIN)/golive down

test: $(VENV)/.dev  ## all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not alone"
	@$(BIN)/python -m pytest -m alone

bench: $(VENV)/.dev  ## the figures of the benchmarks, with what is aimed at; takes a quarter of an hour and 15 GB
	@$(BIN)/python -m tests.benchmarks

simulate: $(VENV)/.dev  ## 32,000 simulated releases through the judging, beside the plain rules of checklists
	@$(BIN)/python -m tests.simulation

PICTURES ?= var/pictures
screenshots: $(VENV)/.dev  ## pictures of all that people see, in var/pictures; needs chromium, and takes ten minutes
	@$(BIN)/python -m tests.screenshots $(PICTURES)

lint: $(VENV)/.dev  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

schema: $(VENV)/.runtime  ## write what is generated from the types: the JSON schema and the reference
	$(BIN)/golive schema > docs/release.schema.json
	$(BIN)/golive reference > docs/reference/release-file.md
	$(BIN)/golive reference cli > docs/reference/cli.md

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra build pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra build --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
