# make setup | demo [KEEP=1] | test | unit | bench | lint
PYTHON ?= python3
VENV := .venv
LABEL_STUDIO_VENV := .venv-label-studio

.PHONY: setup demo test unit bench lint

setup: $(VENV)/.ready $(LABEL_STUDIO_VENV)/.ready

$(VENV)/.ready: requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r requirements-dev.txt
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(LABEL_STUDIO_VENV)/.ready: requirements-label-studio.txt
	test -x $(LABEL_STUDIO_VENV)/bin/python || $(PYTHON) -m venv $(LABEL_STUDIO_VENV)
	$(LABEL_STUDIO_VENV)/bin/pip install --quiet -r requirements-label-studio.txt
	touch $@

demo: setup
	$(VENV)/bin/weakhar demo demo --label-studio $(LABEL_STUDIO_VENV)/bin/label-studio $(if $(KEEP),--keep)

test: setup
	$(VENV)/bin/python -m pytest tests

unit: $(VENV)/.ready
	$(VENV)/bin/python -m pytest tests/unit

bench: $(VENV)/.ready
	$(VENV)/bin/python -m benchmarks

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
