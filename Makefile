# `make demo` and `make test` set everything up on a fresh machine: a virtual environment in .venv, an editable install,
# the versions of constraints.txt, which made the published figures.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test quick lint test-newest docs pictures clean

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

# The documentation site, offline: notebooks are executed, and a warning, such as a broken link, is an error.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q --fail-on-warning --keep-going -c docs -d docs/_build/doctrees . docs/_build/html
	@echo docs/_build/html/index.html

# The figures of the README and of pages that are read without the site; all of bundled scenes.
pictures: $(VENV)/.demo
	$(BIN)/vitjax demo -o out/pictures --scenes 1 --overwrite
	cp out/pictures/grid.png docs/demo.png
	$(BIN)/vitjax compare examples/two_objects.png --model vitjax_scenes --methods rollout legrad transformer_mm \
		--target "plain triangle" "striped disc" -o out/pictures/readme --overwrite
	cp out/pictures/readme/grid.png docs/readme.png
	$(BIN)/vitjax explain examples/two_objects.png --model vitjax_scenes --methods transformer_mm --target top2 \
		-o out/pictures/first --overwrite
	cp out/pictures/first/two_objects_transformer_mm.png docs/strip.png

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@ $(VENV)/.demo $(VENV)/.docs

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) out docs/_build build dist *.egg-info
