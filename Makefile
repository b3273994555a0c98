# make train   trains the digits network and certifies it      (minutes on 2 cores)
# make test    runs the test suite                             (under 12 minutes)
# make test-all, make lint
#
# Each sets up a virtual environment in .venv first. Variables:
#   ACCELERATOR=cuda | tpu      installs JAX for it (else CPU)
#   ARGS="--preset=lipconvnet"  flags of `make train`, see `make train ARGS=--help`
#   PYTHON=python3.12           which Python, at least 3.11

PYTHON ?= python3
ACCELERATOR ?=
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
comma := ,
with = [$(1)$(if $(ACCELERATOR),$(comma)$(ACCELERATOR))]
AS_USERS := --xla_backend_optimization_level=3  # `make test` compiles faster code
PYTEST := $(RUN) -m pytest -n auto --maxprocesses=8

.PHONY: train test test-all lint
train: $(VENV)/ready-run$(ACCELERATOR)
	$(RUN) -m experiments.train $(ARGS)

test: $(VENV)/ready-test$(ACCELERATOR)
	$(PYTEST)

test-all: $(VENV)/ready-test$(ACCELERATOR)
	XLA_FLAGS="$$XLA_FLAGS $(AS_USERS)" $(PYTEST) -m "long or not long"

lint: $(VENV)/ready-dev$(ACCELERATOR)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/pyright

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is older than 3.11: name another with PYTHON=..." >&2; \
	  exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready-run$(ACCELERATOR): pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install -q -e ".$(if $(ACCELERATOR),[$(ACCELERATOR)])"
	@touch $@

$(VENV)/ready-test$(ACCELERATOR): pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install -q -e ".$(call with,test)"
	@touch $@

$(VENV)/ready-dev$(ACCELERATOR): pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install -q -e ".$(call with,dev)"
	@touch $@
