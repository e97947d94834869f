# make train   train a residual network: CIFAR-10 if it can be had, otherwise shapes drawn by code
# make train RANKS=2   the same by two processes, which share each batch (docs/scaling.md)
# make test    the tests, in an order drawn at random, in a process for each of the machine's cores
# make check   the tests, the linter and the type checker
# make test-oldest   the fast tests with every package in the oldest version that setup.cfg allows
# make test-browser   the tests in Python as browsers have it (Pyodide), in Node or Chromium: docs/backends.md
# make test-browser PYODIDE=DIR   with Pyodide's files from a folder; make pyodide fetches them
# make campaign   attacks on what is promised, hours of them; an hour: make campaign ARGS="--minutes 60"
# make fuzz    files made by what they reach in the readers, ten minutes a reader; make fuzz ARGS="npz --minutes 60"
# make test-live   every Python block and exercise of the pages, run in a browser by Pyodide; its files: PYODIDE=DIR
# make test-live ENGINE=firefox   the same in Firefox, or with ENGINE=webkit in WebKitGTK
# make coverage   which lines and branches of the readers of weights their tests reach, twenty minutes
# make parity   the networks under names of torchvision and timm against the real ones, half an hour; installs both, 5 GB
# make kernels    every kernel of the GPU's path, compiled for five kinds of GPUs, and checked on this machine's processor
# make docs    the documentation as a site, in docs/_build/html; make docs-serve also shows it in a browser
# make docs PYODIDE=DIR   the same, with the files of Pyodide that run its code in the site, not from their public CDN
# make docs WEIGHTS=FILE   the same, with these weights for the figure on the page of pictures, at most 400,000 bytes
# Each builds its environment, .venv, .venv-oldest or .venv-parity, by itself.
# Another Python: make test PYTHON=python3.12. More flags: make train ARGS="--epochs 10"

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
SLOW := after_resnet against benchmarks calibration campaign compression detect distillation docs ensemble \
	exercises exercises_interface exercises_kinds experiments explain families_parity finetune googlenet ideas imagenet \
	inception kernels live live_figures measuring other_tasks parity pipeline_benchmark plots practice protocol recompute recording \
	retrieval robustness sabotage segment segmentation site snapshots train_cifar two_layers vgg
READERS := $(wildcard tests/test_pretrained*.py) \
	$(addprefix tests/test_,$(addsuffix .py,class_names data_cifar meant networks probe readings))

.PHONY: train test test-oldest test-browser test-live pyodide check lint docs docs-serve campaign fuzz coverage kernels \
	parity clean

ifeq ($(RANKS),)
train: .venv/ready
	$(BIN)/python examples/train_cifar.py $(ARGS)
else
train: .venv/ready-mpi
	$(BIN)/mpiexec -n $(RANKS) $(BIN)/python -m mpi4py examples/train_cifar.py $(ARGS)
endif

test: .venv/ready-dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

# Packages this old, beside newer ones that they depend on, may call what has been deprecated since.
test-oldest: .venv-oldest/ready
	.venv-oldest/bin/python -m pytest -W default::DeprecationWarning $(addprefix --ignore=tests/test_,$(addsuffix .py,$(SLOW))) $(ARGS)

test-browser: .venv-browser/ready
	PYTHONPATH=tests $(BIN)/python -m in_browser $(if $(PYODIDE),--pyodide $(PYODIDE)) $(ARGS)

pyodide: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m in_browser.pyodide

test-live: .venv/ready-docs .venv/ready-dev
	LIVE_PAGES=all $(BIN)/python -m pytest tests/test_live.py tests/test_practice.py tests/test_site.py $(ARGS)

check: lint test

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

campaign: .venv/ready-dev
	PYTHONPATH=tests $(BIN)/python -m campaign $(ARGS)

fuzz: .venv/ready-campaign
	PYTHONPATH=tests $(BIN)/python -m campaign.fuzzing $(ARGS)

kernels: .venv/ready-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "nvidia-cuda-nvrtc>=13"
	$(BIN)/python tests/prove_kernels.py $(ARGS)

parity: .venv-parity/ready
	.venv-parity/bin/python benchmarks/families_files.py
	.venv-parity/bin/python benchmarks/families_parity.py $(ARGS)

coverage: .venv/ready-campaign
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses auto --dist loadfile $(READERS) $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

docs: .venv/ready-docs
	$(BIN)/python -m sphinx -q -W --keep-going -j auto $(if $(PYODIDE),-D live_pyodide=$(PYODIDE)) \
		$(if $(WEIGHTS),-D live_weights=$(WEIGHTS)) -b html docs docs/_build/html
	@echo "The site is in docs/_build/html, its first page is index.html. To read it: make docs-serve"

docs-serve: docs
	$(BIN)/python docs/serve.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "minires needs Python 3.10 or newer, this is " + sys.version.split()[0] + ": name another with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/ready: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

.venv/ready-mpi: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[mpi]"
	@touch $@

.venv/ready-campaign: .venv/ready-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[campaign]"
	@touch $@

.venv-oldest/ready: .venv/bin/python setup.cfg pyproject.toml .ci/oldest.py
	$(BIN)/python -m venv --clear .venv-oldest
	$(BIN)/python .ci/oldest.py >.venv-oldest/oldest.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --editable . --requirement .venv-oldest/oldest.txt
	@touch $@

# In a browser nothing compiled for this machine runs: the newest versions that are all Python.
.venv-browser/ready: setup.cfg | .venv/ready
	rm -rf .venv-browser/packages
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --target .venv-browser/packages \
		--only-binary :all: --platform any --implementation py --python-version 3.12 "pytest>=8" "hypothesis>=6.100"
	@touch $@

.venv-parity/ready: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m venv --clear .venv-parity
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check --editable . torch==2.14.1 torchvision==0.29.1 timm==1.0.31
	@touch $@

.venv/ready-docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	@touch $@

clean:
	rm -rf .venv .venv-oldest .venv-parity .venv-browser build docs/_build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
