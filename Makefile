# Two commands for everybody: `make demo` and `make test`. Each sets up what it needs in .venv and .cache.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
# A Python of the system's, never the one inside the environment that is about to be made.
OUTSIDE := $(shell echo "$$PATH" | tr ':' '\n' | grep -vx '$(CURDIR)/$(VENV)/bin' | paste -sd:)
PYTHON ?= $(shell PATH='$(OUTSIDE)'; command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
unexport PIP_REQUIRE_VIRTUALENV PYTHONPATH

.PHONY: help setup demo test check unit system faults bench lock wheel deb clean

help:
	@echo "make demo    the whole onboarding against the bundled development WFM"
	@echo "make test    all checks and tests"
	@echo "make faults  the long fault campaign, two to three hours; docs/reliability.md has its last figures"
	@echo "make bench   the budgets of the design beside what is measured here"
	@echo "make wheel   the package, into dist/"
	@echo "make deb     the Debian packages margod and margod-devwfm, into dist/"
	@echo "make lock    pin the newest versions into requirements/*.lock"

setup: $(STAMP)

$(STAMP): requirements/dev.lock pyproject.toml tools/venv.sh
	@tools/venv.sh "$(PYTHON)" "$(VENV)"
	@touch $(STAMP)

demo: setup
	@$(BIN)/margod demo $(ARGS)

# What the tests need from outside is fetched while the environment is made and the checkers compute.
test:
	@tools/test-prepare.sh & prepared=$$!; \
	  $(MAKE) --no-print-directory setup && { tools/test-ahead.sh $(BIN) & $(MAKE) --no-print-directory check; }; checked=$$?; \
	  wait $$prepared && wait && exit $$checked
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	@tools/test-run.sh $(BIN)/pytest
endif

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: setup
	@tools/test-prepare.sh
	@nice -n 19 $(BIN)/python -m tests.faults $(ARGS)

bench: setup
	@$(BIN)/python tools/bench.py $(ARGS)

wheel: setup
	@$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

deb: setup
	@$(BIN)/python tools/deb.py $(ARGS)

lock:
	@tools/lock.sh "$(PYTHON)"

clean:
	rm -rf $(VENV) .cache build dist *.egg-info
