# Two commands are all the set-up there is: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint faults fuzz page units bench docs fixtures pictures clean

run: .make/run
	$(BIN)/pixelog up --demo

test: lint
	$(BIN)/pytest -q -m "not long and not page and not systemd"

lint: .make/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The long forms of what `make test` does in short: kills by the dozen, faults at every call.
faults: .make/test
	$(BIN)/pytest -q -m long --timeout 3600 tests

# Hostile requests by the hundred thousand, and ten rounds of the generated tests with examples that are drawn anew.
fuzz: .make/test
	PIXELOG_FUZZ_REQUESTS=100000 $(BIN)/pytest -q tests/api/http/test_hostile.py
	@files=$$(grep -rl --include='test_*.py' 'from hypothesis' tests); for round in 1 2 3 4 5 6 7 8 9 10; do \
		echo "== round $$round"; PIXELOG_EXAMPLES=drawn $(BIN)/pytest -q --timeout 1200 $$files || exit 1; done

# The page in a real Chromium (apt install chromium).
page: .make/page .make/axe.min.js
	$(BIN)/pytest -q -m page tests/page

# The systemd unit, as systemd-analyze sees it (apt install systemd).
units: .make/test
	$(BIN)/pytest -q -m systemd tests/api

# Figures: each a ratio against a baseline of the same run. The page's need a browser and belong to `make page`; two files only help the others.
NO_TABLES := benchmarks/page.py benchmarks/logs.py benchmarks/table.py
bench: .make/bench
	@failed=0; for file in $(filter-out $(NO_TABLES),$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || failed=1; done; exit $$failed

# Pages that are written from the code.
docs: .make/test
	$(BIN)/python -m projections.reference > docs/projections.md

# What the kept events fold to, made anew: look at the difference before keeping it.
fixtures: .make/test
	$(BIN)/python -m projections.replay.fixtures replay_fixtures

# The pictures of README and docs, from the real thing in a real Chromium.
pictures: .make/page
	$(BIN)/python docs/pictures.py

.make/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pixelog needs Python 3.11 or newer: make PYTHON=python3.12 run"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "this Python cannot make a virtual environment: apt install python3-venv"; exit 2; }
	@mkdir -p .make && touch $@

.make/run: .make/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.make/test: .make/venv pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch .make/run $@

.make/page: .make/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,page]'
	@touch $@

.make/bench: .make/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	@touch $@

# The accessibility checker that the page's tests inject (apt install npm).
.make/axe.min.js: .make/venv
	cd .make && npm pack --silent axe-core@4.14.1 && tar xzf axe-core-4.14.1.tgz --strip-components=1 package/axe.min.js

clean:
	rm -rf $(VENV) .make build *.egg-info
