# Two commands do all the set-up: `make demo` and `make test`. Nothing is installed twice: the stamps
# in .venv are newer than what they were made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
SETUP := pyproject.toml constraints.txt

.PHONY: demo test lint types bench format clean

demo: $(VENV)/.installed
	$(BIN)/qexp run specs/experiences/mogi_cnn.json --seed 3
	$(BIN)/qexp matrix --run mogi_cnn_3 --dataset mogi_test.json

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist

$(VENV)/.installed: $(SETUP)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e .
	$(BIN)/python -m compileall -q qexp
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[test]'
	touch $@
