# Thin wrappers; the README shows the plain venv and pip lines.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: view test check clean

view: $(VENV)/viewer.installed
	$(BIN)/ttt3r-view $(or $(ARGS),--demo loop)

test: $(VENV)/dev.installed
	$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

# What a change must pass beside the tests.
check: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is wanted, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# torch first and alone: a machine whose pip has its own way to a build (CPU, another CUDA) keeps it.
$(VENV)/viewer.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet "torch>=2.6,<2.14"
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/dev.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet "torch>=2.6,<2.14"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV)
