# Every target makes its own environment in .venv, from the pinned versions in constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-network test-emulated test-pythons check-cuda lint format docs wheels clean

demo: $(READY)
	$(BIN)/onnxpress demo

# In the order of the folders: reordered by their number of tests, the files with few long ones would come last.
test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not network and not cuda"

test-network: $(READY)
	$(BIN)/pytest -m "network and not slow"

test-slow: $(READY)
	$(BIN)/pytest -m "slow and not cuda"

# Answers under emulated CPUs: apt-get install qemu-user-static.
test-emulated: $(READY)
	$(BIN)/pytest -m emulated tests/emulated

# The wheel in an environment of each Python from 3.11 on that is installed; the whole suite: make test PYTHON=python3.13
test-pythons: $(READY)
	$(BIN)/pytest tests/cli/test_pythons.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation's site, in site/: generated pages included, links checked, any warning an error.
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

.venv-docs/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,docs]'
	touch $@

# For a machine with a GPU and no network: WHEELS is a folder with this project's wheel and all that it needs
# (pip wheel -w FOLDER '.[gpu,export,bench,dev]' where there is a network). Without it, .venv is used.
# DEVICE=cpu rehearses all but the device.
DEVICE ?= cuda
OUTPUT ?= cuda.json
check-cuda: CHECK := $(if $(WHEELS),.venv-cuda,$(VENV))/bin/python
check-cuda: $(if $(WHEELS),.venv-cuda/.ready,$(READY))
	$(CHECK) -m onnxpress_bench.cuda --device $(DEVICE) --output $(OUTPUT) --tests tests/cuda $(ARGUMENTS)

.venv-cuda/.ready:
	$(PYTHON) -m venv .venv-cuda
	.venv-cuda/bin/python -m pip install --quiet --no-index --find-links $(WHEELS) 'onnxpress[$(if $(filter cpu,$(DEVICE)),cpu,gpu),export,bench,dev]'
	touch $@

# A wheel and an sdist in dist/, the same bytes every time, with their hashes.
wheels: BUILD := .venv-build/bin
wheels:
	$(PYTHON) -m venv .venv-build
	$(BUILD)/python -m pip install --quiet --disable-pip-version-check build==1.6.1 twine==7.0.0
	rm -rf dist
	$(BUILD)/python -m build
	$(BUILD)/python -m twine check --strict dist/*.whl dist/*.tar.gz
	cd dist && sha256sum *.whl *.tar.gz > SHA256SUMS

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "onnxpress needs Python 3.11 or newer; run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,export,bench,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .venv-docs dist build site
