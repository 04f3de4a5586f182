PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TASK ?= financial_services/fraud_detection
ARGS ?=
PINS := constraints.txt
# The first line takes the CPU build of torch where the index has one; the rest finds it installed.
INSTALL = $(BIN)/pip install --quiet -c $(PINS) "$$(grep '^torch==' $(PINS))" && $(BIN)/pip install --quiet -c $(PINS)
# What answers single rows is compiled once, here rather than in the first run.
COMPILE = $(BIN)/python -c 'from spt_core.families.tabular.runtimes import compile_ahead; compile_ahead()'

PYTEST = env -u RAY_ADDRESS $(BIN)/python -m pytest
# A process for each core; with Ray one: others beside it make it slower, and disturb the service's.
CORES = -n auto --dist
WITHIN_MINUTES = --ignore=tests/chaos --ignore=tests/slow

# DeepSpeed compiles what it needs on first use, nothing when it is installed.
export DS_BUILD_OPS := 0

.PHONY: help install run test unit slow chaos check format clean

help: ## print these lines
	@awk -F ': .*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## the main job on the bundled sample; TASK= and ARGS= change it
	$(BIN)/python -m jobs.pipeline $(TASK) $(ARGS)

test: $(VENV)/dev.stamp ## the test suite in ten minutes: without Ray, then with it
	$(PYTEST) $(CORES) loadfile -m 'not ray and not gpu' $(WITHIN_MINUTES) --durations=5
	$(PYTEST) -m 'ray and not gpu' $(WITHIN_MINUTES) --durations=15

unit: $(VENV)/dev.stamp ## the quick tests without Ray, in under a minute
	$(PYTEST) $(CORES) worksteal

slow: $(VENV)/dev.stamp ## what few changes touch: two workers, clusters, targets, refits, thousands of odd files
	$(PYTEST) -m 'not gpu' tests/slow --durations=0
	SPT_EXAMPLES_TIMES=10 $(PYTEST) -m 'not ray and not gpu' tests/unit/data tests/unit/test_notation.py

chaos: $(VENV)/dev.stamp ## kill -9 of workers, drivers, replicas, watchers; on a quiet machine
	$(PYTEST) -m 'not gpu' tests/chaos --durations=0

check: $(VENV)/dev.stamp ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## format and sort imports in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/dev.stamp ## .venv with the pinned set and the tools

clean: ## remove .venv and caches
	rm -rf $(VENV) build spt.egg-info .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/run.stamp: pyproject.toml $(PINS) | $(BIN)/python
	@echo "installing the pinned packages into $(VENV) (once)"
	$(INSTALL) .
	@$(COMPILE)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(PINS) | $(BIN)/python
	@echo "installing the pinned packages and tools into $(VENV) (once)"
	$(INSTALL) '.[dev]'
	@$(COMPILE)
	@touch $@ $(VENV)/run.stamp
