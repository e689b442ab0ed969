# make demo and make test need python3 (3.11 or later), make and the package registry; nothing else.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-all check docs bench bench-quick faults clean

demo: $(READY)
	$(BIN)/featx demo --out demo-out

# One worker per core, and one thread per worker, so that they do not wait for each other's;
# bytecode is kept even where the environment forbids it, for the processes that tests start and for
# the next run; in the order of collection, so that the doctests, which are short, come last.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(PYTEST) -m "not slow"

# Kills, clusters, browsers, fuzz and whole pipelines; tests/unit/test_serve_browser.py needs chromium.
test-slow: $(READY)
	$(PYTEST) -m slow tests

# All of them in one run, so that no core waits for the other twice.
test-all: $(READY)
	$(PYTEST)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Any warning is an error. Nothing is downloaded; examples and notebooks run, in about two minutes.
docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -d build/doctrees docs build/docs

bench: $(READY)
	$(BIN)/python benchmarks/run.py

# A few ratios in under five minutes, beside the last ones that were kept.
bench-quick: $(READY)
	$(BIN)/python benchmarks/quick.py

faults: $(READY)
	$(BIN)/python tests/faults/run.py

# Everything a target needs, made once and again when pyproject.toml changes. What is imported is compiled then, a
# small part of what is installed.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit(f"featx needs Python 3.11 or later, found {v[0]}.{v[1]}: run make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf demo-out build dist docs/api docs/gallery examples/*.h5 examples/*.parquet examples/*.featx examples/*.onnx examples/.*.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis
