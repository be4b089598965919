# MLBIO. `make` lists the commands.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
PY = .venv/bin/python

## IMAGE          a photograph, for make demo (the drawn examples unless given); its name may have spaces
## PRECISION      of the explanations of make demo: Faible, Moyenne or Importante
PRECISION ?= Moyenne
## ROOT           the folder of HAM10000, for make evaluate
ROOT ?= ../shared/ham10000
## ALSO           a folder of photographs from other sources, for make evaluate, if it exists
ALSO ?= ../shared/elsewhere
## MODEL          the checkpoint, for make promote, with its score card in score_card/ next to it
## TORCH_BACKEND  the build of torch, for the first set-up: cpu, cu130, … of PyTorch's index, or empty for PyPI's, which has CUDA
##                (unless given, what suits this machine, where PyTorch's index can be reached, and otherwise PyPI's)
TORCH_BACKEND ?= auto
## PYTHON         Python 3.11, for the first set-up, if it is not on the path

# Passed in variables, so that file names may have any characters.
export MLBIO_IMAGE := $(value IMAGE)
export MLBIO_MODEL := $(value MODEL)
export TORCH_BACKEND

.DEFAULT_GOAL := help
.PHONY: help setup app demo serve archive promote rollback test test-all unit docs evaluate bench lint audit clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nSettings, as in make demo IMAGE="my photo.jpg" PRECISION=Faible:\n'
	@sed -n 's/^## /  /p' $(MAKEFILE_LIST)

setup: .venv/run.stamp ## install everything that is needed to run, into .venv

app: setup model_store/mlbio.mar ## the service and the web page on http://localhost:8501, until Ctrl-C
	@exec $(PY) -m supervisor --page

demo: setup model_store/mlbio.mar ## classify and explain IMAGE (the drawn examples) through the service, started for it
	@if [ -n "$$MLBIO_IMAGE" ]; then set -- "$$MLBIO_IMAGE"; else set -- examples/*.jpg; fi; \
	exec $(PY) -m supervisor --run $(PY) cli/client.py --explain --precision "$(PRECISION)" "$$@"

serve: setup model_store/mlbio.mar ## TorchServe and the gateway on http://127.0.0.1:8089, until Ctrl-C
	@exec $(PY) -m supervisor

archive: setup ## pack model_store/model_mlbio.pth, handler/ and api/ into model_store/mlbio.mar
	@echo "packing the model ..."
	@$(PY) train/archive.py

promote: setup ## serve MODEL (default: model_store/model_mlbio.pth) while the service runs, if its score card is not worse
	@$(PY) deploy/promote.py $${MLBIO_MODEL:+"$$MLBIO_MODEL"}

rollback: setup ## go back to the previously served model
	@$(PY) deploy/promote.py --rollback

test: lint tested ## check the code, and run the unit tests and the main end-to-end tests

test-all: test ## also run the slow tests: containers (with Docker), Ray, promotion, soak, whole trainings
	$(TESTS) -m slow $(PYTEST)

TESTS = OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadscope --no-loadscope-reorder
.PHONY: tested
tested: .venv/test.stamp model_store/mlbio.mar
	$(TESTS) -m "not slow" $(PYTEST)

unit: .venv/test.stamp ## run the quick tests alone, without a service (some minutes)
	@OMP_NUM_THREADS=1 $(PY) -m pytest tests/unit -n auto --dist loadscope $(PYTEST)

docs: .venv/test.stamp ## build the documents in docs/ into build/docs/index.html
	@$(PY) -m mkdocs build --quiet --strict

evaluate: setup ## the shipped model's score card on the test images under ROOT, and that of ALSO
	@if [ -d "$(ALSO)" ]; then set -- --also "$(ALSO)"; fi; $(PY) evaluate/main_evaluate.py "$(ROOT)" "$$@"

bench: .venv/test.stamp ## speed of inference and explanation, compared with torch and the lime package
	@$(PY) benchmarks/speed.py

lint: .venv/test.stamp ## check style, types and import rules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

# Not part of lint, whose result must not depend on the network.
audit: .venv/test.stamp ## check the installed packages for known vulnerabilities (needs the network)
	.venv/bin/pip-audit --skip-editable

clean: ## delete what was made here: .venv, logs, archives, the examples' explanations, unfinished training
	rm -rf .venv .cache .hypothesis .run build logs *.egg-info .*_cache examples/.ipynb_checkpoints examples/drawn_*_explained.png
	rm -rf $(addprefix model_store/,*.mar *.mar.sha256 *.resume.pth next previous replaced promoted score_card_*)
	find . -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

model_store/mlbio.mar: model_store/model_mlbio.pth train/archive.py $(wildcard model_store/score_card/*.json) $(shell find handler api -name "*.py" 2>/dev/null) | .venv/run.stamp
	@if [ -e $@ ] && [ -e model_store/promoted ]; then \
		echo "$@ holds a promoted model, and is older than the code or model_store/model_mlbio.pth: make promote MODEL=... packs it again, make archive goes back to model_store/model_mlbio.pth"; \
	else echo "packing the model ..." && $(PY) train/archive.py; fi

# A .venv without uv is incomplete, or from before uv was used: it is created again.
.venv/bin/uv:
	@command -v "$(PYTHON)" >/dev/null || { echo 'setup: error: there is no $(PYTHON): install Python 3.11, or set its path with PYTHON=…' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "setup: error: this is Python %d.%d, and 3.11 is needed: set its path with PYTHON=…" % sys.version_info[:2])'
	@echo "creating .venv ..."
	@"$(PYTHON)" -m venv --clear .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)" || { \
		echo 'setup: error: uv cannot be installed: check the network, the proxy or `pip config list`, then run the same command again' >&2; exit 1; }

.venv/run.stamp: requirements.txt pyproject.toml | .venv/bin/uv
	@sh deploy/install.sh $(PY) --requirements requirements.txt
	@$(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/test.stamp: requirements-dev.txt requirements-ray.txt .venv/run.stamp
	@TORCH_BACKEND= sh deploy/install.sh $(PY) --requirements requirements-dev.txt
	@touch $@
