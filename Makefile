# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test check demo demo-text clean

setup: .venv/.installed

# torch first and constrained, so that nothing later resolves to another build of it
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, found {sys.version.split()[0]}: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

demo: setup
	$(BIN)/python examples/demo.py

# the bundled text-to-image model, and a load test of the service
demo-text: setup
	$(BIN)/python examples/demo.py --model models/tiny-sdxl --out out/text --macs 0.3 --guidance 5 --size 48x32 --size 32x48 \
		--load-test

clean:
	rm -rf out .venv .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache
