# make demo   set up and run the main job on the embedded digits
# make test   set up and run the tests
# make retry  run again, one after the other, the tests that failed
# make check  set up and run formatter, linter, type checker and import rules
# make slow   set up and run the tests that take longer

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test slow retry check clean

demo: $(VENV)/installed
	$(BIN)/mobinas run --out runs/digits
	$(BIN)/mobinas pick runs/digits

# One process a core; the tests of a file share what is costly to make, so they stay in one process.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test: $(VENV)/installed-test
	$(PYTEST)

slow: $(VENV)/installed-test
	$(PYTEST) -m slow

retry: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "slow or not slow" --last-failed --last-failed-no-failures none

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "MOBINAS needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch comes first and pinned: left to itself, pip may fetch gigabytes of another build.
$(VENV)/installed: $(VENV)/made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
