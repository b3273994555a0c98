# make train      train a network on scikit-learn's digits and certify it
#                 (minutes on 2 cores)
# make test       run the tests (a quarter of an hour on 2 cores)
# make test-all   run the long tests as well, compiled as users compile (hours)
# make site       build the documentation into build/site
# make lint       run ruff and pyright on the library, the programs and the tests
#
# Each target first installs what it needs into .venv. Variables:
#   ACCELERATOR=cuda | tpu      install JAX for a GPU or TPU (default: CPU)
#   ARGS="--preset=lipconvnet"  flags of `make train`; see `make train ARGS=--help`
#   PYTHON=python3.12           the Python to use, 3.11 or newer

PYTHON ?= python3
ACCELERATOR ?=
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
comma := ,
PYTEST := $(RUN) -m pytest -n auto --maxprocesses=8
# `make test` compiles faster, to slower code, and tries fewer examples of properties:
# see tests/conftest.py.
AS_USERS := --xla_backend_optimization_level=3

.PHONY: train test test-all site lint
train: $(VENV)/ready-experiments$(ACCELERATOR)
	$(RUN) -m experiments.train $(ARGS)

test: $(VENV)/ready-test$(ACCELERATOR)
	$(PYTEST)

test-all: $(VENV)/ready-test$(ACCELERATOR)
	XLA_FLAGS="$$XLA_FLAGS $(AS_USERS)" $(PYTEST) -m "long or not long" \
	  --hypothesis-profile=thorough

site: $(VENV)/ready-docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --site-dir build/site

lint: $(VENV)/ready-dev$(ACCELERATOR)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/pyright

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is older than 3.11: choose another with PYTHON=..." >&2; \
	  exit 2; }
	$(PYTHON) -m venv $(VENV)

# ready-EXTRA, ready-EXTRAcuda and ready-EXTRAtpu mark that an extra is installed.
$(VENV)/ready-%$(ACCELERATOR): pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install -q -e ".[$*$(if $(ACCELERATOR),$(comma)$(ACCELERATOR))]"
	@touch $@
