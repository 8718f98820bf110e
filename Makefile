# Everything runs from .venv, which the first target that needs it makes.
PYTHON ?= python3
ZOO_SHARED ?= ../shared
BIN := .venv/bin
# Processes that share the tests, a file each: one more than cores, for those that wait; a process
# takes up to 3 GB.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 3 ] && echo 4 || echo $$((n + 1)))
# A process that dies ends in a failure: pytest-xdist waits for ever where it starts another.
SHARED_OUT := -n $(WORKERS) --dist loadfile --max-worker-restart 0

# The cached Olivetti faces beside the checkout, where there are any (CI has them; a clone need not).
ifneq ($(wildcard $(ZOO_SHARED)/scikit_learn_data),)
export SCIKIT_LEARN_DATA ?= $(ZOO_SHARED)/scikit_learn_data
endif

.PHONY: help demo docs test quick coverage lint format bench clean

help:
	@echo "make demo    train a network beside two classic models, on real faces (installs into .venv first)"
	@echo "make test    the whole test suite"
	@echo "make quick   the tests that take no more than a few seconds"
	@echo "make coverage  the branches of evaluator that the tests take; fails below 95 %"
	@echo "make docs    the documentation as a site, into site/"
	@echo "make lint    ruff format, ruff check, mypy --strict, bandit, vulture"
	@echo "make bench   every benchmark beside what it is measured against: 20 minutes"

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "face-zoo needs Python 3.10 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	@echo "==> Making .venv and installing face-zoo with its exact versions (about 1.5 GB, a few minutes the first time)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "==> $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.installed
	@$(BIN)/zoo demo

test: .venv/.installed
	$(BIN)/python -m pytest $(SHARED_OUT)

quick: .venv/.installed
	$(BIN)/python -m pytest -m 'not slow'

coverage: .venv/.installed
	$(BIN)/python -m pytest $(SHARED_OUT) --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

docs: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: .venv/.installed
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
