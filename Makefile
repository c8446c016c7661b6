# Two commands for a newcomer: make demo, make test. `make install PIP_FLAGS=…` passes flags to pip.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 3000
PIP_FLAGS ?=
# PyTorch with its CUDA libraries; flags for pip mean that another build was chosen.
FREE_GB ?= $(if $(PIP_FLAGS),2,8)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo serve test test-slow lint bench clean
help:
	@echo "make demo [IMAGE=my.jpg]   install, start the service, caption a photo, stop"
	@echo "make serve [PORT=3000]     keep the service running"
	@echo "make install [PIP_FLAGS=…] only install"
	@echo "make test | test-slow      the tests"
	@echo "make lint                  ruff and mypy"
	@echo "make bench                 the benchmarks"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=…"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || \
	  $(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 2**30; \
	    sys.exit(f"Only {free:.1f} GB are free here, and $(FREE_GB) GB are needed. See the README for the small CPU build; FREE_GB=0 skips this check.") if free < $(FREE_GB) else None'
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[test]'
	@touch $@

demo: install
	@$(BIN)/python -m serving.demo $(if $(IMAGE),"$(IMAGE)")

serve: install
	@$(BIN)/python -m serving --port $(PORT)

test: install
	$(BIN)/python -m pytest -m "not slow" -q

test-slow: install
	$(BIN)/python -m pytest -m slow -q

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m benchmarks.caption
	$(BIN)/python -m benchmarks.recurrent
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.video
	$(BIN)/python -m benchmarks.text
	$(BIN)/python -m benchmarks.page

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
