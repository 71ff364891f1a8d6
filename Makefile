# Two commands are all the set-up there is: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint clean

run: .make/run
	$(BIN)/pixelog up --demo

test: .make/test
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright
	$(BIN)/pytest -m "not long" -q

lint: .make/test
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

.make/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pixelog needs Python 3.11 or newer: make PYTHON=python3.12 run"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "this Python cannot make a virtual environment: apt install python3-venv"; exit 2; }
	@mkdir -p .make && touch $@

.make/run: .make/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.make/test: .make/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch .make/run $@

clean:
	rm -rf $(VENV) .make build *.egg-info
