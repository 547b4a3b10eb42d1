# Every target does its own set-up: a virtual environment from pyproject.toml.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

RECIPE ?= recipes/quickstart.yaml
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
RUN ?= runs/$(basename $(notdir $(RECIPE)))
DOC ?=
BENCH ?= all
KERNELS ?=
CASES ?=
GPU_WORKERS ?= 8
STAGE ?= text_8k
STUDY ?= recipes/studies/quickstart.yaml
MODEL ?= $(if $(filter vl_%,$(notdir $(STAGE))),tiny-vl,tiny)
CORPUS ?= runs/quickstart
CHAIN ?=
FROM ?=
PROCESSES ?=
RAY ?=
TP ?=
PP ?=
EP ?=
ARGS ?=
PAGES ?=

# Each launch compiles for seconds at first use: several processes, where pytest-xdist is installed.
GPU_SPREAD = $(shell $(PY) -c 'import importlib.util as i; i.find_spec("xdist") and print("-n $(GPU_WORKERS) --dist loadgroup")')
GPU_TRAINER = $(shell $(PY) -c 'import importlib.util as i; i.find_spec("megatron") and print("tests/trainer/vision")')

export RAY_USAGE_STATS_ENABLED := 0

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Leyden needs Python 3.11 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,pdf,s3]'
	touch $@

setup: $(READY)  ## Create .venv from pyproject.toml (every other target does it when needed)

corpus: $(READY)  ## Build a corpus: RECIPE=recipes/quickstart.yaml RUN=runs/NAME WORKERS=N
	$(PY) -m dataflow build $(RECIPE) --out $(RUN) --workers $(WORKERS)

check: $(READY)  ## Check a recipe and print its plan: RECIPE=…
	$(PY) -m dataflow check $(RECIPE)

verify: $(READY)  ## Check a run's hashes, laws and roots: RUN=…
	$(PY) -m dataflow verify $(RUN)

report: $(READY)  ## Write a run's report.html again: RUN=…
	$(PY) -m dataflow report $(RUN)

why: $(READY)  ## Tell one document's story: DOC=URI_OR_ID RUN=…
	$(PY) -m dataflow why $(RUN) '$(DOC)'

train: $(READY)  ## Train a stage: STAGE=text_8k MODEL=tiny CORPUS=runs/quickstart CHAIN=1 FROM=text_1m PROCESSES=2 RAY=address TP=2 PP=2 EP=2 ARGS="--steps 100"
	$(PY) -m trainer run --stage $(STAGE) --model $(MODEL) --corpus $(CORPUS) --resume $(if $(filter-out 0,$(CHAIN)),--chain) \
		$(if $(FROM),--from $(FROM)) \
		$(if $(PROCESSES),--processes $(PROCESSES)) $(if $(RAY),--ray $(RAY)) \
		$(if $(TP),--tp $(TP)) $(if $(PP),--pp $(PP)) $(if $(EP),--ep $(EP)) \
		--out runs/train/$(basename $(notdir $(MODEL)))-$(notdir $(CORPUS))$(if $(FROM),-from-$(FROM))/$(basename $(notdir $(STAGE))) $(ARGS)

ablate: $(READY)  ## Run a study and write its report: STUDY=recipes/studies/quickstart.yaml WORKERS=N RAY=address ARGS=--report-only
	$(PY) -m mixtures ablate $(STUDY) --workers $(WORKERS) $(if $(RAY),--ray $(RAY)) $(ARGS)

test: $(READY)  ## Run the tests (a few minutes)
	$(PY) -m tests.rooms

test-long: $(READY)  ## Run the slow and random tests: kills, 10x input, wide fuzzing (up to an hour)
	$(PY) -m tests.rooms --long

test-gpu: $(READY)  ## Run the kernels' tests, and the trainer's where Megatron is, on a CUDA GPU: GPU_WORKERS=8 (another Python: PY=python3 READY=)
	$(PY) -c 'import sys, torch; torch.cuda.is_available() or sys.exit("found no CUDA GPU, which these tests need")'
	$(PY) -m pytest -q -m "gpu or not long" $(GPU_SPREAD) tests/kernels/tensors
	$(if $(GPU_TRAINER),$(PY) -m pytest -q -m gpu $(GPU_TRAINER))

kernel-report: $(READY)  ## Build the kernels for sm_80, sm_90 and sm_100: registers, spills, shared memory (no GPU)
	$(PY) -m kernels.artefacts

lint: $(READY)  ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY)  ## Let ruff format and mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(READY)  ## Measure side by side with peers and floors: BENCH=all PAGES=folders of real HTML/WARC
	$(PY) -m benchmarks $(BENCH) $(foreach folder,$(PAGES),--pages $(folder))
	$(PY) -m benchmarks results

bench-kernels: $(READY)  ## Time the kernels on a CUDA GPU beside others and the floor: KERNELS="lightning decode" (default all)
	$(PY) -m benchmarks.kernels $(KERNELS)
	$(PY) -m benchmarks results

bench-trainer: $(READY)  ## Measure the trainer: CASES="quickstart plan" (default all)
	$(PY) -m benchmarks.trainer $(CASES)
	$(PY) -m benchmarks results

deps-debian-docs:  ## Install the Debian packages that recipes/debian-docs.yaml reads (needs apt and root)
	apt-get update
	apt-get install -y --no-install-recommends debian-handbook \
	    gimp-help-en gimp-help-de gimp-help-fr gimp-help-es gimp-help-pt \
	    libreoffice-help-de libreoffice-help-fr libreoffice-help-es libreoffice-help-ko \
	    installation-guide-amd64 manpages-de manpages-fr manpages-ja manpages-ru manpages-zh \
	    manpages-pl apache2-doc python3.11-doc python-skimage-doc

deps-manuals:  ## Install the Debian packages that recipes/studies/manuals-corpus.yaml reads (needs apt and root)
	apt-get update
	apt-get install -y --no-install-recommends apache2-doc cppreference-doc-en-html debian-handbook debian-policy \
	    developers-reference erlang-doc gimp-help-en git-doc kicad-doc-en libboost1.74-doc linux-doc-6.1 octave-doc \
	    postgresql-doc-15 python-django-doc python-pandas-doc python-scipy-doc python-sqlalchemy-doc python3.11-doc rust-doc

clean:  ## Remove runs and caches, not the environment
	rm -rf runs .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup corpus check verify report why train ablate test test-long test-gpu kernel-report lint format bench \
    bench-kernels bench-trainer deps-debian-docs deps-manuals clean
