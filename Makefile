# Everything runs from a virtual environment inside the project; only python3 (3.11 or newer) and make are needed.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-report
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt
DEVELOP := $(INSTALL) -c constraints-dev.txt

# Compiled modules are kept: without them, each of the hundred processes that the tests begin compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format bench docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gazeshift needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/.core: .venv/.made pyproject.toml hatch_build.py constraints.txt
	$(INSTALL) -e .
	@touch $@

# What is `apart` asks for a release of requests that users shall not get: it comes without what it asks for.
.venv/.dev: .venv/.core constraints-dev.txt
	$(DEVELOP) -e '.[lite,ray,remote,serve]' --group dev
	$(DEVELOP) --no-deps --group apart
	@touch $@

.venv/.docs: .venv/.core constraints-dev.txt
	$(DEVELOP) --group docs
	@touch $@

.venv/.bench: .venv/.core constraints-dev.txt
	$(DEVELOP) -e '.[ray,serve]' --group bench
	$(DEVELOP) --no-deps --group apart
	@touch $@

setup: .venv/.dev  ## build the virtual environment .venv with everything a developer needs

demo: .venv/.core  ## attack a real ImageNet classifier and write a report (OUT=demo-report)
	$(BIN)/gazeshift demo --out $(OUT)

test: .venv/.dev  ## run the tests
	$(BIN)/python -m pytest -n auto -m 'not slow' $(ARGS)

test-all: .venv/.dev  ## run the tests, the long ones too
	$(BIN)/python -m pytest -n auto $(ARGS)

check: .venv/.dev  ## formatting, lint, types, import contracts, lists in the documentation, age of what users install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/house.py
	$(BIN)/python tools/list_parts.py --check
	$(BIN)/python tools/list_kinds.py --check
	$(BIN)/python tools/attack_table.py --check
	$(BIN)/python tools/lock.py --check

format: .venv/.dev  ## put the code in its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.bench  ## measure: ratios side by side, printed as a table
	$(BIN)/python -m bench $(ARGS)

docs: .venv/.dev .venv/.docs  ## build the documentation into site/
	$(BIN)/python tools/list_parts.py
	$(BIN)/python tools/list_kinds.py
	$(BIN)/zensical build --clean

lock: .venv/.made  ## resolve constraints.txt and constraints-dev.txt anew (ARGS=--keep: no more than must change)
	$(BIN)/python tools/lock.py $(ARGS)

clean:  ## remove what was built; results stay
	rm -rf .venv site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
