# Everything happens in $(VENV); each target does its whole set-up on a fresh machine.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SOURCES := pyproject.toml $(wildcard loopwright/data/*.c)

.PHONY: demo test test-slow bench check format clean

demo: $(VENV)/.installed
	$(BIN)/loopwright demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n 2

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m "slow or not slow"

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.kill --kills 100
	$(BIN)/python -m benchmarks.loading
	$(BIN)/python -m benchmarks.decoding_accuracy

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info loopwright/data/*.so

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --editable ".[dev,bench]"
	touch $@ $(VENV)/.installed $(VENV)/.installed-dev
