# What people and CI do with a checkout. Needs make and Python 3.11 or later; everything else goes into .venv.
.DEFAULT_GOAL := help
.PHONY: help setup check format test test-fast browser load coverage demo docs dist sbom audit clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
SUPPLY_READY := $(VENV)/.supply-ready
BROWSER_READY := $(VENV)/.browser-ready
PYTHONS = $(or $(PYTHON),python3.11 python3)
USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## make .venv and install the package into it (PYTHON=... picks the interpreter)
	@echo 'ready; now: . $(VENV)/bin/activate'

# pip names servers and folders of the machine at hand: that stays in its log, and what is shown of a failure
# leaves them out. It compiles nothing: of the thousands of modules, most are never imported.
define install
	@$(BIN)/python -m pip install --no-compile --disable-pip-version-check --no-input --progress-bar off \
	  -c constraints.txt -e '.[$(1)]' >$(VENV)/pip.log 2>&1 || { \
	    tail -n 25 $(VENV)/pip.log | sed -E "/^(Looking|WARNING)/d; s#[a-z+]+://[^ '\")]+#<address>#g; \
	      s#host='[^']*'#host=<host>#g" >&2; exit 1; }
endef

$(READY): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
	  python=; \
	  for candidate in $(PYTHONS); do \
	    if "$$candidate" -c '$(USABLE)' 2>/dev/null; then python=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "make: no Python 3.11 or later with venv among: $(PYTHONS)." \
	      "Install one (Debian, Ubuntu: also python3-venv) or say make PYTHON=/path/to/python" >&2; \
	    exit 1; \
	  fi; \
	  "$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing into $(VENV) (PyTorch is large: this can take minutes; progress: $(VENV)/pip.log)"
	$(call install,dev)
	@touch $(READY)

check: $(READY)  ## format, lint, types (strict in src, checked in tests); changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(READY)  ## put the format right and mend what the linter can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# One process a core; a file's tests stay together, because they share what they have trained, and files in the
# order of tests/conftest.py. -n 0 turns it off.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder
test: $(READY)  ## run the tests (TEST_ARGS=... goes to pytest)
	$(BIN)/pytest $(SPREAD) $(TEST_ARGS)

test-fast: $(READY)  ## the tests without those that are slow or train whole runs: for use while writing
	$(BIN)/pytest $(SPREAD) -m 'not slow and not training' $(TEST_ARGS)

# Chromium or Chrome has to be there (Debian: chromium); $$CHROMIUM says where, if it isn't on the path.
browser: $(BROWSER_READY)  ## the pages in a real browser: what they do, and that axe finds nothing
	REDOSEG_BROWSER=1 $(BIN)/pytest -m browser $(TEST_ARGS)

load: $(READY)  ## a server of `redoseg serve` under load: requests a second, times, memory (LOAD_ARGS=...)
	$(BIN)/python benchmarks/serving.py $(LOAD_ARGS)

# Which tests are traced: tests/untraced.txt.
coverage: $(READY)  ## all tests, and the branches of src that they reach; fails below the floor in pyproject.toml
	$(BIN)/pytest $(SPREAD) --cov --cov-report=term:skip-covered $(TEST_ARGS)

demo: $(READY)  ## learn to segment drawn digits, then show how well (DEMO_ARGS=... goes to redoseg demo)
	$(BIN)/redoseg demo $(DEMO_ARGS)

docs: $(DOCS_READY)  ## the pages of docs/ and of the public API as a web site, into site/ (warnings are errors)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

$(BROWSER_READY): $(READY)
	$(call install,browser)
	@touch $(BROWSER_READY)

$(DOCS_READY): $(READY)
	$(call install,docs)
	@touch $(DOCS_READY)

$(SUPPLY_READY): $(READY)
	$(call install,supply)
	@touch $(SUPPLY_READY)

sbom: $(SUPPLY_READY)  ## sbom.json: every package in .venv with its version and licence (CycloneDX)
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml -o sbom.json $(BIN)/python

# What isn't asked about is no good news: a build of PyTorch for one machine may be left out, hundreds may not.
audit: $(SUPPLY_READY)  ## ask PyPI for known holes in what is in .venv (needs the network)
	@$(BIN)/pip-audit --local --skip-editable >$(VENV)/audit.log 2>&1; code=$$?; cat $(VENV)/audit.log; \
	left=$$(grep -c 'could not be audited' $(VENV)/audit.log); \
	if [ $$left -gt 2 ]; then \
	  echo "make audit: $$left packages could not be audited: can PyPI be reached?" >&2; exit 1; \
	fi; \
	exit $$code

dist: $(READY)  ## a wheel and an sdist of the package, into dist/
	rm -rf build dist
	$(BIN)/python -m build --no-isolation

clean:  ## remove .venv, caches and build outputs; runs/ stays
	rm -rf $(VENV) build dist site sbom.json .pytest_cache .mypy_cache .ruff_cache .coverage src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
