# Needs Python >= 3.11, make and a package index; every target installs what it uses into .venv, once.
#
#   PYTHON       the interpreter that makes .venv                             (python3)
#   TORCH_INDEX  where PyTorch's builds lie; empty: pip's own index only      (see scripts/torch_index.py)

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help install demo test lint docs same faults gpu lock clean

help:
	@echo "make demo     the whole pipeline on built-in images; the report is runs/demo/report.html"
	@echo "make test     style, types, floors and tests"
	@echo "make lint     style, types and floors only"
	@echo "make docs     the documentation as a site: build/site/index.html"
	@echo "make same     REV=<commit>: small jobs there and here give the same numbers (five minutes)"
	@echo "make faults   kills, full disks, damaged files, strange input: is anything lost? (hours)"
	@echo "make gpu      does everything work on this GPU, and how fast? (ten minutes)"
	@echo "make install  only make .venv"
	@echo "make lock     rewrite requirements.lock from what .venv holds"
	@echo "make clean    remove caches and build products; .venv and runs/ stay"

install: $(INSTALLED)

# timm comes alone: it asks for torchvision, whose binary must match torch's and which nothing here needs.
# --no-compile: most files are never imported, and compiling all of them takes longer than the rest of the installation
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; \
		sys.exit(None if sys.version_info >= (3, 11) else "SynDiff needs Python 3.11 or newer, but $(PYTHON) is " + v + \
		". Name a newer one: make PYTHON=python3.12 $(or $(MAKECMDGOALS),install)")'
	$(PYTHON) -m venv .venv
	index=$$($(BIN)/python scripts/torch_index.py) && \
		grep -v '^timm=' requirements.lock | \
		$(BIN)/python -m pip install --disable-pip-version-check --no-compile --requirement /dev/stdin $$index
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation \
		$$(grep '^timm=' requirements.lock) --editable .
	@touch $@

demo: $(INSTALLED)
	$(BIN)/syndiff demo --out runs/demo

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A process for each core, each with one thread: the tests' small networks gain nothing from more. See tests/conftest.py
# for what they share. Compiled once, .venv's modules are imported in a third of the time, also where the environment
# asks Python not to write what it compiled.
test: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# The whole source is the repository, so that links between docs/ and results/ are links there too. See docs/conf.py.
docs: $(INSTALLED)
	$(BIN)/sphinx-build -W --keep-going -q -E -c docs -d build/doctrees -b html . build/site
	@echo "build/site/index.html"

same: $(INSTALLED)
	$(BIN)/python scripts/same.py $(REV)

# Kills, full disks, clocks that jump, two processes, damaged files, strange input: see tests/faults.
faults: $(INSTALLED)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python tests/faults --out results/faults/all.json

# A machine without a GPU checks the script alone.
gpu: $(INSTALLED)
	$(BIN)/python scripts/check_gpu.py --out build/gpu

lock:
	(sed '/^#/!d' requirements.lock && $(BIN)/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//') > .lock
	mv .lock requirements.lock

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
