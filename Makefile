# Everything runs from a virtual environment inside the project; only python3 (3.11 or newer) and make are needed.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-report
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format bench docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gazeshift needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/.core: .venv/.made pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

.venv/.dev: .venv/.core
	$(INSTALL) -e '.[dev,lite,ray,remote,serve]'
	@touch $@

.venv/.docs: .venv/.core
	$(INSTALL) -e '.[docs]'
	@touch $@

.venv/.bench: .venv/.core
	$(INSTALL) -e '.[bench,ray,serve]'
	@touch $@

setup: .venv/.dev  ## build the virtual environment .venv with everything a developer needs

demo: .venv/.core  ## attack a real ImageNet classifier and write a report (OUT=demo-report)
	$(BIN)/gazeshift demo --out $(OUT)

test: .venv/.dev  ## run the tests
	$(BIN)/python -m pytest -n auto -m 'not slow' $(ARGS)

test-all: .venv/.dev  ## run the tests, the long ones too
	$(BIN)/python -m pytest -n auto $(ARGS)

check: .venv/.dev  ## formatting, lint, types, import contracts, lists in the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/list_parts.py --check

format: .venv/.dev  ## put the code in its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.bench  ## measure: ratios side by side, printed as a table
	$(BIN)/python -m bench $(ARGS)

docs: .venv/.dev .venv/.docs  ## build the documentation into site/
	$(BIN)/python tools/list_parts.py
	$(BIN)/zensical build --clean

lock: .venv/.made  ## resolve constraints.txt anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --all-extras --upgrade pyproject.toml -o constraints.txt

clean:  ## remove what was built; results stay
	rm -rf .venv site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
