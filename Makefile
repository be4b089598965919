# MLBIO. `make` lists what there is.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY = .venv/bin/python
ROOT ?= ../shared/ham10000
IMAGE ?= examples/*.jpg
PRECISION ?= Moyenne

# CUDA packages of torch are large, and connections may be slow.
PIP = $(PY) -m pip install --disable-pip-version-check --quiet --timeout 60 --retries 5

.DEFAULT_GOAL := help
.PHONY: help setup demo serve archive test unit evaluate bench lint audit clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/run.stamp ## install everything that is needed to run, into .venv

demo: setup archive ## classify and explain IMAGE (the drawn examples) through the service, started for it
	@$(PY) -m gateway.serve --run $(PY) cli/client.py --explain --precision $(PRECISION) $(IMAGE)

serve: setup archive ## TorchServe and the gateway on http://127.0.0.1:8089, until Ctrl-C
	@exec $(PY) -m gateway.serve

archive: model_store/mlbio.mar ## pack model_store/model_mlbio.pth, handler/ and api/ into model_store/mlbio.mar

test: lint archive ## check the code, then run every test
	$(PY) -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST)

unit: .venv/test.stamp ## run the quick tests alone (no service, under a minute)
	@OMP_NUM_THREADS=1 $(PY) -m pytest tests/unit -n auto --dist loadscope $(PYTEST)

evaluate: setup ## the shipped model's score card on the test images under ROOT
	@$(PY) evaluate/main_evaluate.py $(ROOT)

bench: .venv/test.stamp ## speed of inference and explanation, beside the plain way, in one run
	@$(PY) benchmarks/speed.py

lint: .venv/test.stamp ## check style, types and the directions of imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

# Not part of lint, which has to work, and to say the same, without a connection to anything but the package index.
audit: .venv/test.stamp ## look the installed packages up in PyPI's list of vulnerabilities (needs the network)
	.venv/bin/pip-audit --skip-editable

clean: ## delete everything that was made, .venv included
	rm -rf .venv logs build *.egg-info .*_cache model_store/*.mar model_store/*.mar.sha256
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

model_store/mlbio.mar: model_store/model_mlbio.pth train/archive.py $(wildcard model_store/score_card/*.json handler/*.py api/*.py) | .venv/run.stamp
	@$(PY) train/archive.py

.venv/run.stamp: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "Python 3.11 is needed, this is " + sys.version)'
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "installing the pinned packages into .venv (some minutes, about 7 GB) ..."
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/test.stamp: requirements-dev.txt .venv/run.stamp
	@$(PIP) -r requirements-dev.txt
	@touch $@
