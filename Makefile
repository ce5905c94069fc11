# Everything runs in .venv, which `make setup` builds with pip alone.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 4  # most tests wait for a simulated exchange, not for the processor

.PHONY: help setup run test test-slow lint format bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("lacuna needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else 0'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: .venv/.installed  ## a virtual environment with everything in it

run: setup  ## watch the bot trade on paper, offline, against a simulated exchange
	$(BIN)/lacuna demo $(ARGS)

test: setup lint  ## the tests, without the slow ones
	$(BIN)/pytest -n $(WORKERS) -m 'not slow' $(ARGS)

test-slow: setup  ## the slow tests alone
	$(BIN)/pytest -n $(WORKERS) -m slow $(ARGS)

lint: setup  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## the house style, applied
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## the benchmarks that take seconds, as tables
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.codec
	$(BIN)/python -m benchmarks.journal

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
