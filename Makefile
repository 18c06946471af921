# Both targets set everything up on a fresh machine: a virtual environment in .venv and an editable install.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test quick lint docs clean

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

# The pictures of the README, all of them of bundled scenes.
docs: $(VENV)/.demo
	$(BIN)/vitjax demo -o out --scenes 1 --overwrite
	cp out/grid.png docs/demo.png
	cp out/strips/scene0_dotted_disc_transformer_mm.png docs/strip.png

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) out build dist *.egg-info
