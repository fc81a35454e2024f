# The two commands to know: `make demo` shows what argus does, `make test` proves it.
# Both set themselves up in .venv the first time, and again whenever requirements.txt, settings.ini or setup.py change.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
DOCS   := $(VENV)/.docs-stamp
HERE   := $(CURDIR)/$(VENV)

# PyTorch's threads spin while they wait, which is ruinous when something else runs too: let them sleep.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup hooks demo lab docs results tables test test-all types export readme clean-notebooks clean

help:  ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

# --- Setting up ---------------------------------------------------------------------------------------------------

# The stamp is written last, so an install that failed or was interrupted is tried again. A virtual environment does
# not survive a move of its folder: one that was made elsewhere counts as missing.
ifeq ($(shell grep -sF '$(HERE)' $(BIN)/activate),)
.PHONY: $(STAMP)
endif

$(STAMP): requirements.txt settings.ini setup.py
	@rm -f $(STAMP)
	@{ grep -qsF '$(HERE)' $(BIN)/activate && $(BIN)/python -m pip --version; } >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'argus_nb needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...' >&2; exit 2; }; \
	  echo 'Making $(VENV)'; $(PYTHON) -m venv --clear $(VENV); }
	@echo 'Installing requirements.txt into $(VENV) (a few minutes the first time)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

$(DOCS): requirements-docs.txt $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt -c requirements.txt
	@touch $(DOCS)

setup: $(STAMP)  ## Install everything into .venv (the other targets do this by themselves)

hooks: $(STAMP)  ## Let git see notebooks without execution counts and metadata, whoever opened them
	git config filter.argus-notebook.clean '"$(HERE)/bin/python" scripts/make_clean.py'
	git config filter.argus-notebook.smudge cat
	git config filter.argus-notebook.required true
	$(BIN)/nbdev_install_hooks

# --- Using --------------------------------------------------------------------------------------------------------

demo: $(STAMP)  ## Film a small world with a simulated hand and turn the clip into a 360 video
	@$(BIN)/python scripts/make_demo_input.py demo/input.mp4
	$(BIN)/argus generate demo/input.mp4 demo/output.mp4 --overwrite

lab: $(STAMP)  ## Open the notebooks, the one to start with first
	$(BIN)/jupyter lab nbs/start_here.ipynb

docs: $(DOCS)  ## Build a site from the notebooks in _docs and check its links
	$(BIN)/python scripts/make_docs.py

# Experiments by name, all when WHAT is empty; `reconstruction` and `distance` are columns of what `main` records.
WHAT ?=

results: $(STAMP)  ## Compute every record again (days on two cores; WHAT='seams memory' for some)
	for name in $(or $(WHAT),$$($(BIN)/argus reproduce | awk '$$1 !~ /^(reconstruction|distance)$$/ {print $$1}')); do $(BIN)/argus reproduce $$name --write || exit; done

tables: $(STAMP)  ## Compute the tables again (hours)
	$(MAKE) results WHAT='main outpainting ablation nano dynamics'

# --- Testing ------------------------------------------------------------------------------------------------------

# What is quick and catches the commonest slips comes first. Then two notebooks run side by side, and two files of tests,
# so each gets one thread.
CHECKS     := tests/test_hygiene.py tests/test_notebooks.py
ONE_THREAD := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
TWO_FILES  := -n 2 --dist loadfile --no-loadscope-reorder

test: $(STAMP)  ## Check the notebooks and the package, run every notebook, run pytest
	$(BIN)/python -m pytest -q $(CHECKS)
	$(ONE_THREAD) $(BIN)/nbdev_test --n_workers 2 --timing
	$(ONE_THREAD) $(BIN)/python -m pytest -q $(TWO_FILES) tests $(CHECKS:%=--ignore=%)

test-all: $(STAMP)  ## The same with everything that is marked slow
	$(BIN)/python -m pytest -q $(CHECKS)
	$(ONE_THREAD) $(BIN)/nbdev_test --n_workers 2 --timing --flags slow
	$(ONE_THREAD) $(BIN)/python -m pytest -q $(TWO_FILES) tests $(CHECKS:%=--ignore=%) --slow

types: $(STAMP)  ## Look over the types of the package
	$(BIN)/mypy

# --- Writing ------------------------------------------------------------------------------------------------------

export: $(STAMP)  ## Write argus_nb/ from the notebooks
	$(BIN)/nbdev_export

clean-notebooks: $(STAMP)  ## Strip execution counts and metadata from the notebooks
	$(BIN)/nbdev_clean

readme: $(STAMP)  ## Write README.md from nbs/index.ipynb
	$(BIN)/python scripts/make_readme.py

clean:  ## Remove what the other targets made, .venv included
	rm -rf $(VENV) demo _docs _proc .cache build dist *.egg-info .pytest_cache .hypothesis
