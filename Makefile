# Two commands do all the set-up: `make demo` and `make test`. Nothing is installed twice: the stamps
# in .venv are newer than what they were made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
SETUP := pyproject.toml constraints.txt

.PHONY: demo test test-all test-change docs reference pictures quick lint types pytest bench format names clean

demo: $(VENV)/.installed
	$(BIN)/qexp run mogi_cnn --seed 3
	$(BIN)/qexp matrix mogi_cnn_3

# What takes a second or less of each capability. Types are checked beside it: mypy uses one core, and tests wait now and
# then.
test: $(VENV)/.installed-test
	$(MAKE) --no-print-directory -j3 lint types pytest ONLY='-m "not heavy and not cluster"'

# And what takes longer by its nature: kills, statistics of thousands of draws, documents at full size, with
# what builds them, a real cluster.
test-all: test $(VENV)/.installed-docs
	$(MAKE) --no-print-directory pytest ONLY='-m "heavy or cluster"'

# Of these, those of the rooms that have changed since a commit, and a third of the others in turn, as many as begin in
# so many minutes.
test-change: $(VENV)/.installed-docs
	$(MAKE) --no-print-directory pytest ONLY='-m "heavy or cluster" --of-change $(SINCE) $(if $(MINUTES),--minutes $(MINUTES))'

quick: $(VENV)/.installed-test
	$(MAKE) --no-print-directory -j3 lint types pytest ONLY='-m "not slow and not heavy and not cluster"'

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

# Compiled tests and modules are kept, whatever the shell says: each worker would compile them for ten seconds.
pytest:
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup $(ONLY)

# The documentation, in build/docs; a broken link or a public name without a docstring is an error. First all commands of
# tutorials and gallery are run, some minutes, and what they print and draw is compared with what the pages keep.
# OUTPUTS=kept leaves that out, OUTPUTS=new puts what differs into the pages.
OUTPUTS := compared
docs: $(VENV)/.installed-docs
	$(if $(filter compared kept new,$(OUTPUTS)),,$(error OUTPUTS=$(OUTPUTS): choose from compared, kept, new))
	$(if $(filter kept,$(OUTPUTS)),,cd docs && QEXP_WORKSPACE= $(abspath $(BIN))/python -m _generate.kept $(if $(filter new,$(OUTPUTS)),--write))
	QEXP_WORKSPACE= $(BIN)/python -m sphinx --fail-on-warning --keep-going -j auto -b html docs build/docs
	@echo "open build/docs/index.html, or serve it: $(BIN)/python -m http.server -d build/docs"

# The pages of docs/ that are made from the code; a test says when it is time.
reference: $(VENV)/.installed-all
	cd docs && QEXP_WORKSPACE= $(abspath $(BIN))/python -m _generate

pictures: $(VENV)/.installed-test
	QEXP_PICTURES=write $(BIN)/python -m pytest -q tests/figures/test_pictures.py tests/web/test_pictures_of_pages.py

bench: $(VENV)/.installed-all
	$(BIN)/python -m benchmarks

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What the shell completes; a test says when it is time.
names: $(VENV)/.installed
	$(BIN)/python -m qexp.cli.names

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist

$(VENV)/.installed: $(SETUP)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e .
	$(BIN)/python -m compileall -q qexp
	touch $@

$(VENV)/.installed-all: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[all]'
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[docs]'
	touch $@
