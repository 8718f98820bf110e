# Everything runs from .venv, which the first target that needs it makes.
PYTHON ?= python3
ZOO_SHARED ?= ../shared
BIN := .venv/bin
# Processes that share the tests, a file each: one more than cores, for those that wait; a process
# takes up to 3 GB.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 3 ] && echo 4 || echo $$((n + 1)))
# A process that dies ends in a failure: pytest-xdist waits for ever where it starts another.
SHARED_OUT := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# The cached Olivetti faces beside the checkout, where there are any (CI has them; a clone need not).
ifneq ($(wildcard $(ZOO_SHARED)/scikit_learn_data),)
export SCIKIT_LEARN_DATA ?= $(ZOO_SHARED)/scikit_learn_data
endif

.PHONY: help demo docs test quick coverage lint format bench clean

help:
	@echo "make demo    train a network beside two classic models, on real faces: a few minutes, 2.4 GB in .venv"
	@echo "make quick   the tests that take no more than a few seconds each (installs 4.3 GB into .venv first)"
	@echo "make test    the whole test suite: 15 to 20 minutes on two cores, an hour on busy ones"
	@echo "make coverage  the branches of evaluator that the tests take; fails below 95 %"
	@echo "make docs    the documentation as pages to open, site/index.html, search included"
	@echo "make lint    ruff format, ruff check, mypy --strict, bandit, vulture"
	@echo "make bench   every benchmark beside what it is measured against: 20 minutes"

# Two installs share .venv: what zoo needs, and what its developers need as well. pip says what it does.
PIP = $(BIN)/python -m pip --disable-pip-version-check

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "face-zoo needs Python 3.10 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	@echo "==> Making .venv"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "==> $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PIP) install --upgrade pip

.venv/.usable: pyproject.toml constraints.txt | .venv/bin/python
	@echo "==> Installing face-zoo and what it needs: 0.8 GB to download, 2.4 GB on disk, four fifths of it TensorFlow"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "==> Installing what developers need, every extra and tool: 1.5 GB to download, 4 GB on disk"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

# The developers' install has what the demo needs.
demo: $(if $(wildcard .venv/.installed),.venv/.installed,.venv/.usable)
	@echo "==> zoo demo: fits two models, trains a third and compares them, about a minute"
	@$(BIN)/zoo demo
	@echo "==> zoo is $(BIN)/zoo; after \`source $(BIN)/activate\` it is zoo"

test: .venv/.installed
	@echo "==> The whole suite, 6,800 tests in $(WORKERS) processes of up to 3 GB: 15 to 20 minutes on two cores, an hour on busy ones. make quick leaves out the 430 slow ones."
	@echo "==> A minute passes before the first dot: each process imports every test."
	$(BIN)/python -m pytest $(SHARED_OUT)

quick: .venv/.installed
	@echo "==> The tests that are quick, one after another; a minute passes before the first dot."
	$(BIN)/python -m pytest -m 'not slow'

coverage: .venv/.installed
	$(BIN)/python -m pytest $(SHARED_OUT) --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

docs: .venv/.installed
	@echo "==> Building the pages, a minute"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "==> Open site/index.html in a browser: it needs no server, the search neither"

lint: .venv/.installed
	@echo "==> Formatting, rules, types (a minute the first time), weak spots, dead code"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive evaluator training zoo fuzz
	$(BIN)/vulture

bench: .venv/.installed
	@TF_CPP_MIN_LOG_LEVEL=2 ZOO_SHARED=$(ZOO_SHARED) $(BIN)/python benchmarks --markdown docs/performance-table.md

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist site mutants findings .coverage* .pytest_cache .mypy_cache .ruff_cache
