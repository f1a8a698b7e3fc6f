# Every target makes what it needs in .venv; python3 (3.11 or newer) with its venv module is all that must be there.
#   make demo    annotate real cells that come with a dependency, and say which files to look at
#   make test    run the tests              (PYTEST_ARGS="-k routing" replaces the options, here one process per core)
#   make lint    check style and types
#   make docs    build the documentation in docs/_build/html
#   make bench   measure speed and memory against peers (85 minutes or so; BENCH_ARGS=--quick: a few)
#   make accuracy  the same for accuracy on labelled data (minutes)
#   make clean   remove everything that these targets made

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n auto
BENCH_ARGS ?= --full
BIN := $(VENV)/bin

extras_demo := scanpy
extras_test := test
extras_lint := lint,test
extras_docs := docs,isoforms,llm,scanpy
extras_bench := peers,test

.NOTPARALLEL:
.PHONY: demo test lint docs bench accuracy clean

demo: $(VENV)/.ready-demo
	$(BIN)/cellkey demo

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.ready-lint
	$(BIN)/ruff check $(wildcard src tests benchmarks docs .ci)
	$(BIN)/mypy

docs: $(VENV)/.ready-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

bench: $(VENV)/.ready-bench
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

accuracy: $(VENV)/.ready-bench
	$(BIN)/python benchmarks/accuracy.py

clean:
	rm -rf $(VENV) docs/_build docs/reference/generated build dist demo_run*
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cellkey needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: a second call installs nothing until the requirements change.
$(VENV)/.ready-%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(extras_$*)]"
	@touch $@
