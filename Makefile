# Every verb sets up what it needs. VENV=DIR puts the virtual environment elsewhere, PYTHON=NAME makes it with another Python,
# FAISS=gpu takes Faiss's GPU build (in a fresh environment: the two builds exclude each other).
VENV ?= .venv
PYTHON ?= python3
FAISS ?= cpu
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable
PINS := pyproject.toml .ci/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench gpu-check clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.dev ## make the virtual environment with everything tests and checks need

demo: $(VENV)/.base ## curate a small pool on this machine and print the result
	$(BIN)/curate demo

test: $(VENV)/.dev ## run the tests, with branch coverage of curation/
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90

check: $(VENV)/.dev ## lint, format, types, import layers
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/pyright --pythonpath $(BIN)/python && $(BIN)/lint-imports

bench: $(VENV)/.dev ## run the benchmarks that need no data of yours
	$(BIN)/python -m tests.bench

gpu-check: ## run the GPU tests and benchmarks, with no set-up where python3 has torch; says so where there is no GPU
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m tests.gpu_check

clean: ## remove the virtual environment, caches and coverage data
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage *.egg-info build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(PINS) | $(BIN)/python
	$(INSTALL) '.[$(FAISS)]'
	@touch $@

$(VENV)/.dev: $(PINS) | $(BIN)/python
	$(INSTALL) '.[$(FAISS),dev]'
	@touch $(VENV)/.base $@
