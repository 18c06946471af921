# `make demo` and `make test` set everything up on a fresh machine: a virtual environment in .venv, an editable install,
# the versions of constraints.txt, which made the published figures.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test quick lint test-newest docs clean

demo: $(VENV)/.demo
	$(BIN)/vitjax demo -o out --overwrite

test: lint
	$(BIN)/python -m pytest

quick: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The newest Python of this machine with the newest release of every dependency, without PyTorch.
NEWEST ?= $(shell for v in 15 14 13 12 11; do for p in python3.$$v $(HOME)/.pyenv/versions/3.$$v.*/bin/python; do \
	$$p --version >/dev/null 2>&1 && echo $$p && exit; done; done)

test-newest:
	$(NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade --editable ".[test-core]"
	.venv-newest/bin/python -m pytest

# The pictures of the README, all of them of bundled scenes.
docs: $(VENV)/.demo
	$(BIN)/vitjax demo -o out --scenes 1 --overwrite
	cp out/grid.png docs/demo.png
	cp out/strips/scene0_dotted_disc_transformer_mm.png docs/strip.png

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) out build dist *.egg-info
