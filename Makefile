# Every command makes the environment it needs. The same commands run in CI.
PYTHON ?= python3
VENV := .venv
PARITY := .venv-parity
TORCH ?= torch==2.13.0
# Of the quickstart: xlm or xlm-roberta.
FAMILY ?= xlm

# Of the tests: processes, which take half of the tests each and then what others have left.
WORKERS ?= 2
TESTS := -m pytest -n $(WORKERS) --dist worksteal --durations 25

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help quickstart test check parity sweep bench clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1\t/' | expand -t 12

quickstart: $(VENV)/.serve  ## checkpoint -> fine-tune -> evaluate -> export -> serve, on the files in examples/
	$(VENV)/bin/python examples/quickstart.py --family $(FAMILY)

test: $(VENV)/.test  ## the tests, without PyTorch (TFXLM_DATA=... for those on real text)
	TF_NUM_INTRAOP_THREADS=1 $(VENV)/bin/python $(TESTS) --ignore=tests/parity

check: $(VENV)/.check  ## lint and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

parity: $(PARITY)/.parity  ## live comparison with PyTorch and transformers
	TF_NUM_INTRAOP_THREADS=1 $(PARITY)/bin/python $(TESTS) tests/parity

sweep: $(PARITY)/.parity  ## all tests on all data, every habit with every class, many more configurations
	TFXLM_SWEEP=1 TF_NUM_INTRAOP_THREADS=1 $(PARITY)/bin/python $(TESTS) tests

bench: $(PARITY)/.bench  ## speed and memory beside the peers
	$(PARITY)/bin/python -m benchmarks

clean:  ## remove the environments
	rm -rf $(VENV) $(PARITY)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] <= (3, 13) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(PARITY)/bin/python:
	$(PYTHON) -m venv $(PARITY)
	$@ -m pip install --quiet $(TORCH)

$(VENV)/.%: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(PARITY)/.%: setup.cfg pyproject.toml | $(PARITY)/bin/python
	$(PARITY)/bin/python -m pip install --quiet --editable '.[$*]'
	touch $@
