# `make run` and `make test` set up what they need first, and only what is missing.
#   DSM_MPI=wheel   MPICH and serial h5py from PyPI, instead of the system's Open MPI and parallel HDF5
#   DSM_MARCH=…     instruction set of all but the student's kernels (setup.py); unset: this machine's; empty: generic
#   RANKS=N         ranks of `make run`
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup run test results faults lint sanitize bench history docs clean FORCE

PYTHON ?= python3
# nproc would count OMP_NUM_THREADS, not cores.
RANKS ?= $(shell n=$$(env -u OMP_NUM_THREADS nproc); echo $$((n < 2 ? n : 2)))
MPIRUN ?= mpirun
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore
# First in PATH: the wheel fallback has its own mpirun. One thread per rank: BLAS must not start more.
WITH := PATH="$(CURDIR)/.venv/bin:$$PATH" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# Open MPI refuses root, and more ranks than cores (the last line: version 5).
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export OMPI_MCA_rmaps_base_oversubscribe := 1
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe

help: ## this list
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/package ## system packages, .venv, parallel h5py, the program (.venv/bin/dsm)
	@.venv/bin/python tools/setup_report.py $$(cut -d' ' -f1 .venv/mpi)

run: setup ## the quickstart: simulate, analyze, plot into results/
	mkdir -p results
	$(WITH) $(MPIRUN) -n $(RANKS) .venv/bin/dsm run inputs/quickstart.yaml -o results/quickstart.h5 --overwrite
	.venv/bin/dsm analyze results/quickstart.h5
	.venv/bin/dsm plot results/quickstart.h5 --kind profile -o results/quickstart_profile.png
	.venv/bin/dsm plot results/quickstart.h5 --kind relaxation -o results/quickstart_relaxation.png

test: lint ## lint, then all tests
	$(WITH) .venv/bin/python -m pytest

# Below results/claims: one results file or folder of a scan each.
CLAIMS := profile.h5 profile_unlearnt.h5 merging_short.h5 merging.h5 width_scan effective_dimension depth_scan theory

results: $(addprefix results/claims/,$(addsuffix .done,$(CLAIMS))) ## docs/results.md: the paper's claims, about 20 minutes
	.venv/bin/python tools/results.py

faults: setup ## kills, requests to stop, lost links, damaged files: the whole campaign, about an hour
	PYTHONPATH=tests $(WITH) .venv/bin/python -m faults

lint: setup ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

sanitize: setup ## the kernels under the address and undefined-behaviour sanitizers, three minutes
	tools/sanitize.sh

bench: setup .venv/bench ## benchmarks
	$(WITH) .venv/bin/python -m benchmarks --figure docs/figures/kernel.png

history: setup .venv/bench ## times of the kernel, kept in results/benchmarks and compared with those before
	$(WITH) .venv/bin/python -m pytest benchmarks/test_history.py --benchmark-only --benchmark-autosave \
	    --benchmark-storage=results/benchmarks --benchmark-timer=time.thread_time
	.venv/bin/pytest-benchmark --storage results/benchmarks compare --columns=median,iqr --sort=name --group-by=fullname

docs: setup .venv/docs ## the pages in docs/, warnings as errors, examples run: docs/_build/html/index.html
	$(WITH) .venv/bin/sphinx-build -W --keep-going -n -q -b html docs docs/_build/html
	$(WITH) .venv/bin/sphinx-build -W --keep-going -q -b doctest docs docs/_build/doctest

# The runs of docs/results.md, as in tools/results.py. What is finished is kept while its input stays the same, what
# was interrupted goes on; the copy of the input beside the results tells that they are of this input.
results/claims/profile.h5.done: inputs/results/profile.yaml
results/claims/profile_unlearnt.h5.done: inputs/results/profile.yaml
results/claims/profile_unlearnt.h5.done: CHANGES := --set schedule.sweeps=0 --set ensemble.clones=20 --set 'ensemble.starts=[random]'
results/claims/merging_short.h5.done: inputs/results/merging.yaml
results/claims/merging_short.h5.done: CHANGES := --set schedule.sweeps=500
results/claims/merging.h5.done: inputs/results/merging.yaml
results/claims/width_scan.done: inputs/width_scan.yaml
results/claims/effective_dimension.done: inputs/effective_dimension.yaml
results/claims/depth_scan.done: inputs/depth_scan.yaml
results/claims/theory.done: inputs/results/theory.yaml

results/claims/%.done: | setup
	@mkdir -p $(@D)
	@if cmp -s $< $(@D)/$*.yaml && [ -f $(@D)/$* -o -f $(@D)/$*/scan.json ]; then \
	    $(WITH) $(MPIRUN) -n $(RANKS) .venv/bin/dsm resume $(@D)/$*; \
	else \
	    rm -rf $(@D)/$* $(@D)/$*.*; cp $< $(@D)/$*.yaml; \
	    $(WITH) $(MPIRUN) -n $(RANKS) .venv/bin/dsm run $< -o $(@D)/$* $(CHANGES); \
	fi
	@touch $@

clean: ## remove what make made, .venv included; results/ stays
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f $(wildcard dsm_hpc/*/*.so) $(patsubst %.pyx,%.c,$(wildcard dsm_hpc/*/*.pyx))
	find . -name __pycache__ -prune -exec rm -rf {} +

# The files below .venv are stamps. This one is looked at every time (FORCE) and names the MPI and the
# checkout: another MPI, a moved checkout or a Python that is gone needs a new .venv.
.venv/mpi: FORCE
	@made="$$(PYTHON="$(PYTHON)" tools/system-packages.sh) $(CURDIR)"; \
	if [ "$$made" != "$$(cat $@ 2>/dev/null)" ] || ! .venv/bin/python -c ''; then \
	    "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "set-up: Python 3.11 or newer is needed")'; \
	    rm -rf .venv; "$(PYTHON)" -m venv .venv; echo "$$made" > $@; \
	fi

# Without --no-build-isolation and H5PY_SETUP_REQUIRES=0 pip compiles an old mpi4py for ten minutes;
# without --no-cache-dir it may take a serial wheel, or one for another MPI, that was built earlier.
.venv/h5py: .venv/mpi
	@$(PIP) mpi4py numpy cython pkgconfig 'setuptools>=77.0.1' wheel
	@if grep -q '^system ' $<; then \
	    echo "set-up: building h5py against parallel HDF5, about two minutes, once"; \
	    CFLAGS="-O1 -g0" HDF5_MPI=ON CC=mpicc HDF5_PKGCONFIG_NAME=hdf5-openmpi H5PY_SETUP_REQUIRES=0 \
	        $(PIP) --no-cache-dir --no-build-isolation --no-binary=h5py h5py==3.16.0; \
	else \
	    $(PIP) mpich h5py==3.16.0; \
	fi
	@touch $@

.venv/march: FORCE | .venv/mpi
	@march='$(if $(filter undefined,$(origin DSM_MARCH)),native,$(DSM_MARCH))'; \
	[ -e $@ ] && [ "$$march" = "$$(cat $@)" ] || echo "$$march" > $@

.venv/package: .venv/h5py .venv/march setup.py pyproject.toml $(wildcard $(addprefix dsm_hpc/*/*.,pyx pxd h)) dsm_hpc/kernels/level.c
	@echo "set-up: building the kernels and installing the program"
	@$(PIP) --no-build-isolation -e '.[test,dev]'
	@touch $@

.venv/bench: .venv/package
	@$(PIP) --no-build-isolation -e '.[bench]'
	@touch $@

.venv/docs: .venv/package
	@$(PIP) --no-build-isolation -e '.[docs]'
	@touch $@
