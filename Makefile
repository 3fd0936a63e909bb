# make help lists the targets. PYTHON=/path/to/python3.12 chooses the interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check format lock clean

VENV := .venv/bin
# Idle OpenMP threads that spin make two cores ten times slower.
export OMP_WAIT_POLICY ?= PASSIVE
export PYTHON SAY

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: ## the shipped policy follows sentences; SAY="put the red cube in the blue bowl" runs that one
	@scripts/setup run
	@$(VENV)/python -m envs.rendering
	@if [ -n "$(filter command environment,$(origin SAY))" ]; then \
	    quoted=$${SAY//\\/ }; quoted=$${quoted//\'/\\\'}; \
	    exec $(VENV)/python scripts/demo.py "say='$$quoted'"; \
	else \
	    exec $(VENV)/python scripts/demo.py; \
	fi

test: ## the whole test suite
	@scripts/setup test
	@scripts/peers
	@$(VENV)/python -m envs.rendering
	$(VENV)/python -m pytest -n 2 $(ARGS)

check: ## linter, formatter, type checker, import contract
	@scripts/setup check
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy
	$(VENV)/lint-imports

format: ## let the linter and the formatter mend what they can
	@scripts/setup check
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

lock: ## pin requirements/*.txt again from pyproject.toml (needs uv)
	@scripts/lock

clean: ## remove caches and build leftovers (keeps .venv, data and outputs)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
