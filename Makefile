PYTHON ?= python3
VENV := .venv
# A process a core, each with a Label Studio of its own.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist worksteal
LABEL_STUDIO_VENV := .venv-label-studio
DOCS_VENV := .venv-docs

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit bench lint docs pictures

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.ready $(LABEL_STUDIO_VENV)/.ready ## both virtual environments: weakhar's and Label Studio's

$(VENV)/.ready: requirements.txt requirements-dev.txt requirements-faces.txt constraints.txt pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r requirements-dev.txt
	$(VENV)/bin/pip install --quiet --no-deps -r requirements-faces.txt
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(LABEL_STUDIO_VENV)/.ready: requirements-label-studio.txt
	test -x $(LABEL_STUDIO_VENV)/bin/python || $(PYTHON) -m venv $(LABEL_STUDIO_VENV)
	$(LABEL_STUDIO_VENV)/bin/pip install --quiet -r requirements-label-studio.txt
	rm -rf $(LABEL_STUDIO_VENV)/new # what Label Studio makes of an empty folder: each start of it saves a minute
	PYTHONWARNINGS=ignore COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false SENTRY_DSN= FRONTEND_SENTRY_DSN= \
		$(LABEL_STUDIO_VENV)/bin/label-studio version --data-dir $(abspath $(LABEL_STUDIO_VENV))/new >/dev/null
	touch $@

demo: setup ## the main job on sample recordings with a real Label Studio; KEEP=1 leaves the servers running
	$(VENV)/bin/weakhar demo demo --label-studio $(LABEL_STUDIO_VENV)/bin/label-studio $(if $(filter-out 0 no false,$(KEEP)),--keep)

test: setup ## all tests
	$(VENV)/bin/python -m pytest tests -m "not processes" $(SIDE_BY_SIDE)
	$(VENV)/bin/python -m pytest tests/unit -m processes

unit: $(VENV)/.ready ## the fast tests
	$(VENV)/bin/python -m pytest tests/unit -m "not processes" $(SIDE_BY_SIDE)

bench: $(VENV)/.ready ## the benchmarks behind the figures in README and docs
	$(VENV)/bin/python -m benchmarks
	$(VENV)/bin/python -m benchmarks.figures

pictures: setup ## the pictures of README and docs, from a real Label Studio in Chromium
	$(VENV)/bin/python -m benchmarks.pictures

docs: $(DOCS_VENV)/.ready ## the docs as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet --strict --site-dir build/site

$(DOCS_VENV)/.ready: requirements-docs.txt
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet -r requirements-docs.txt
	touch $@

lint: $(VENV)/.ready ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
