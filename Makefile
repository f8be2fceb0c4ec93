# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
BENCHMARKS := encode shared fidelity write scale index search serve end_to_end load backlog startup memory api admission own_table \
	quality

.PHONY: help demo test ui check docs screenshots bench clean

help: ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: $(INSTALLED) ## Load real text, embed it through Dagster, check it, ask it three questions
	@$(BIN)/embedding-assets demo

ui: $(INSTALLED) ## Serve the Dagster UI on the demo's state: http://127.0.0.1:3000
	@$(BIN)/embedding-assets ui

# Passive: threads of one process that spin keep those of the others from the cores.
test: $(INSTALLED) ## Run all tests with coverage
	$(BIN)/coverage erase
	OMP_WAIT_POLICY=PASSIVE $(BIN)/coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=20
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(INSTALLED) ## Lint, types, borders between layers, docs up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/sphinx-build -W --keep-going -q docs build/docs

docs: $(INSTALLED) ## Write the generated sections, build the site: build/docs/index.html
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -W --keep-going -q docs build/docs

screenshots: $(INSTALLED) ## Take the pictures of README and docs again (some minutes; needs Chromium)
	$(BIN)/python docs/screenshots.py

bench: $(addprefix bench-,$(BENCHMARKS)) ## Measure everything (an hour or more), update the docs; bench-NAME: one of them
	$(BIN)/python docs/generate.py

bench-%: $(INSTALLED)
	$(BIN)/python benchmarks/$*.py

clean: ## Remove .venv and caches; the data folder stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .coverage*

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON to it: make PYTHON=python3.12 demo"; exit 1; }
	@test -x $(BIN)/python || { echo "Making .venv"; $(PYTHON) -m venv .venv; }
	@echo "Installing (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@
