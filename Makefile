# Everything runs from a virtual environment that make builds itself: a machine with Python 3.11+ and make is enough.
# Node 20+ is only needed for the TypeScript parts; without it they are left out and `make test` says so (CI=1: fails).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNNER ?= python
DEV := $(VENV)/.dev-installed
DEMO := $(VENV)/.demo-installed
AUDIT_VENV := build/audit
AUDIT := $(AUDIT_VENV)/.installed
NODE_READY := $(shell command -v node >/dev/null 2>&1 && [ "$$(node -p 'parseInt(process.versions.node)')" -ge 20 ] && echo yes)
KIT := runner_protocol/typescript
NODE_PARTS := $(KIT) examples/onboarding tests/conformance/typescript

.PHONY: demo test test-fast test-long lint types bench conformance typescript need-node schema build audit requirements clean

demo: $(DEMO) ## Run the engine with a real runner through steps, a retry, a sleep and an event (RUNNER=typescript for the other kit)
ifeq ($(RUNNER),typescript)
	@$(MAKE) --no-print-directory need-node typescript
endif
	@$(BIN)/pylon-workflows demo --runner $(RUNNER)

test: $(DEV) ## Everything that the README promises
	@$(BIN)/python tools/check.py

test-fast: $(DEV) ## What takes under a minute
	@$(BIN)/python tools/check.py --fast

test-long: $(DEV) ## The fault harnesses at their full sizes, one test at a time; hours
	@$(BIN)/python tools/check.py --long

lint: $(DEV) ## Lint, layers and sizes
	@$(BIN)/python tools/check.py --only lint

types: $(DEV)
	@$(BIN)/mypy

bench: $(DEV) ## Measure, as a table and as JSON
	@$(BIN)/python -m benchmarks $(BENCH)

conformance: $(DEV) ## The checker against both kits and the plain example
	@if [ -n "$(NODE_READY)" ]; then $(MAKE) --no-print-directory typescript; fi
	@$(BIN)/python tests/conformance/run_all.py

typescript: need-node ## Build the TypeScript kit and what uses it
	@for part in $(NODE_PARTS); do \
	  (cd $$part && npm install --silent --no-audit --no-fund && npm run --silent build) || exit 1; done

need-node:
	@[ -n "$(NODE_READY)" ] || { echo "the TypeScript parts need Node 20 or later on the PATH"; exit 1; }

schema: $(DEV) ## Write schema.json and docs/openapi.json anew
	@$(BIN)/python -m runner_protocol.schema --write
	@$(BIN)/python tools/write_openapi.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)

# The pinned, hashed files go first; the project itself follows with what they hold, and fetches nothing.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL_ALL = $(PIP) install --require-hashes -r
INSTALL_PROJECT := $(PIP) install --no-deps --no-build-isolation --editable .

$(DEV): pyproject.toml requirements/dev.txt | $(BIN)/python
	@echo "installing pylon-workflows and the tools of its tests into $(VENV)"
	@$(INSTALL_ALL) requirements/dev.txt
	@$(INSTALL_PROJECT)
	@touch $@ $(DEMO)

$(DEMO): pyproject.toml requirements/demo.txt | $(BIN)/python
	@echo "installing pylon-workflows into $(VENV)"
	@$(INSTALL_ALL) requirements/demo.txt
	@$(INSTALL_PROJECT)
	@touch $@

$(AUDIT): requirements/audit.txt | $(BIN)/python
	@$(BIN)/python -m venv $(AUDIT_VENV)
	@$(AUDIT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

build: $(AUDIT) ## The wheel, the source archive, and what the wheel needs as a CycloneDX document, in dist/
	@rm -rf dist
	@$(AUDIT_VENV)/bin/python -m build --no-isolation
	@$(AUDIT_VENV)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.cdx.json requirements/wheel.txt

audit: $(AUDIT) ## Look the pinned packages up among the known vulnerabilities
	@$(AUDIT_VENV)/bin/python tools/audit.py

requirements: ## Pin the newest packages that pyproject.toml allows, with their hashes (needs uv)
	@$(PYTHON) tools/lock_requirements.py

clean:
	rm -rf $(VENV) build dist
