# Each recipe is one line that works without make, from the root of the clone, once `setup` has run.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exec echo $$p; done; echo python3)
export LANGSMITH_TRACING ?= false

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench dev

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

setup:  ## install everything into .venv; does nothing when it is up to date
	@$(PYTHON) scripts/setup.py

demo: setup  ## break a small real service and watch the governed ops graph heal it; LIVE=1 asks a real model
	.venv/bin/sidecar demo ops $(if $(filter-out 0,$(LIVE)),--live)

test: setup  ## run the tests
	.venv/bin/python -m pytest -n 2 --dist loadfile tests

check: setup  ## lint, format, types, the import arrows between packages
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/pyright && .venv/bin/python -m pytest -q tests/test_architecture.py

bench: setup  ## measure what governance costs a node
	.venv/bin/python -m benchmarks.overhead

dev: setup  ## serve the graphs of langgraph.json on this machine, nothing leaves it
	LANGGRAPH_NO_VERSION_CHECK=true LANGGRAPH_CLI_NO_ANALYTICS=1 LANGSMITH_TRACING=false .venv/bin/langgraph dev --no-browser --n-jobs-per-worker 10
