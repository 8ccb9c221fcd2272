# The targets that README, CI, pre-commit and the documentation name; `make` alone prints them.
# Needs python3 (3.11 to 3.13, with venv), git and make; everything else is installed.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
UV := uv==0.13.9
# beside the locked environment, for the tests of accelerators alone
BACKENDS := jax==0.10.2 torch==2.13.0
ACCELERATORS := .scratch/accelerators
COMPARISON = $(if $(EPOCHS),--epochs '$(EPOCHS)') $(if $(MINUTES),--minutes '$(MINUTES)') \
	$(if $(SUBSET),--subset '$(SUBSET)') $(if $(WEIGHTS),--weights '$(WEIGHTS)')
PREFECT = http://127.0.0.1:$(or $(PREFECT_SERVER_API_PORT),4200)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
# the user's, for other environments: pip would refuse to install into .venv, or install elsewhere
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX

.PHONY: help setup demo table3 ablations test test-services fuzz lint ui server docs bench growth image base-image clean lock

.DEFAULT_GOAL := help

help: ## print the targets
	@echo 'make TARGET, where TARGET is one of'
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: $(STAMP) ## make .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
		|| { echo "ferops needs python3 between 3.11 and 3.13; found: $$(python3 --version 2>&1)"; exit 1; }
	@python3 -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "python3 lacks the venv module (Debian and Ubuntu: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@echo "installing the locked environment into $(VENV) (about 3 GB, a minute or two)"
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"; then \
		UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}" \
		$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock; \
	else \
		$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock; \
	fi
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

in-git: # before the installation, which takes minutes
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "DVC needs a git repository: git init && git add --all" \
		"&& git commit --message start"; exit 1; }

demo: in-git setup ## the whole pipeline on the synthetic sample, then its metrics
	@dvc repro
	@ferops results

table3: setup ## the systems of the paper's Table 3, trained alike: EPOCHS=1 MINUTES=30 SUBSET=mini WEIGHTS=FILE
	@python flows/comparison.py table3 $(COMPARISON)

ablations: setup ## the paper's choices, one by one; the same variables as table3
	@python flows/comparison.py ablations $(COMPARISON)

test: setup ## the tests, and the twenty slowest of them
	@python -m pytest --numprocesses 2 --dist worksteal --durations=20

test-services: setup $(ACCELERATORS)/.synced ## the tests on PostgreSQL, S3, MLflow and Prefect servers, Dask, jax and torch
	@python -m pytest -m services

$(ACCELERATORS)/.synced: $(STAMP) Makefile
	@echo "installing $(BACKENDS) into $(ACCELERATORS), which sees $(VENV)"
	@$(BIN)/python -m venv --clear $(ACCELERATORS)
	@$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
		>"$$($(ACCELERATORS)/bin/python -c 'import site; print(site.getsitepackages()[0])')/locked.pth"
	@$(ACCELERATORS)/bin/python -m pip install --quiet $(BACKENDS)
	@touch $@

fuzz: setup ## 50 random kills, broken servers, 10,000 mutated inputs: about an hour
	@python -m pytest -m fuzz -s

lint: setup ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

ui: setup ## the MLflow UI on http://127.0.0.1:5000
	@echo 'the runs: http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=comparison'
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --workers 1

# HTTPS_PROXY: whenever a work pool is made, the server asks GitHub for a list of worker types, though it has a copy
server: setup ## a Prefect server, with its UI, on http://127.0.0.1:4200
	@echo 'the flows, their runs and schedules: $(PREFECT)'
	@echo 'in every other terminal: . .venv/bin/activate; export PREFECT_API_URL=$(PREFECT)/api'
	@echo 'once: prefect work-pool create ferops --type process && prefect --no-prompt deploy --all'
	@echo 'then: prefect worker start --pool ferops'
	@HTTPS_PROXY=http://127.0.0.1:9 prefect server start --host 127.0.0.1

docs: setup ## the documentation site, into site/
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo 'the site: $(CURDIR)/site/index.html'

bench: setup ## ferops beside the usual way, into docs/performance.md: FER2013=PATH; on a quiet machine, 20 minutes
	@python benchmarks/run.py $(if $(FER2013),'$(FER2013)')
	@python benchmarks/report.py

growth: setup ## time and memory of every stage on 1,000 to a million images: UP_TO=100000; on a quiet machine, 25 GB of TMPDIR
	@python benchmarks/growth.py $(if $(UP_TO),--up-to $(UP_TO))

# the first of the three that works; chroot needs no privileges for namespaces
BUILD = $(or $(shell docker info >/dev/null 2>&1 && echo docker build \
	|| { podman info >/dev/null 2>&1 && echo podman build --isolation chroot; } \
	|| { buildah info >/dev/null 2>&1 && echo buildah build --isolation chroot --layers; }),$(error \
	none of docker, podman and buildah works here (Debian and Ubuntu: apt-get install buildah)))
# the package index and the authorities of this machine; the image keeps neither
PIP_CONF = $(firstword $(wildcard $(PIP_CONFIG_FILE) $(HOME)/.config/pip/pip.conf $(HOME)/.pip/pip.conf /etc/pip.conf))
comma := ,
SECRETS = $(if $(PIP_CONF),--secret 'id=pip$(comma)src=$(PIP_CONF)') \
	$(if $(SSL_CERT_FILE),--secret 'id=certificates$(comma)src=$(SSL_CERT_FILE)')

image: ## the container image `ferops`, by docker, podman or buildah; BASE=localhost/ferops-base where no registry is reached
	@$(BUILD) --tag ferops $(if $(BASE),--build-arg 'BASE=$(BASE)') $(SECRETS) \
		--build-arg "REVISION=$$(git describe --always --dirty --abbrev=40)" .

base-image: ## that base, from Debian's packages
	@command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing (Debian and Ubuntu: apt-get install mmdebstrap)"; exit 1; }
	@mkdir -p .scratch/base
	@mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm .scratch/base/base.tar
	@printf 'FROM scratch\nADD base.tar /\nCMD ["bash"]\n' > .scratch/base/Dockerfile
	@$(BUILD) --tag localhost/ferops-base .scratch/base
	@rm -r .scratch/base

lock: setup ## resolve requirements.lock again, after a change of pyproject.toml
	@$(BIN)/python -m pip install --quiet "$(UV)"
	@uv pip compile pyproject.toml --extra mtcnn --extra onnx --extra team --group dev --universal --generate-hashes --no-emit-index-url \
		--python-version 3.11 --no-header --quiet --output-file requirements.lock

clean: ## remove caches and the built site; data, models and the MLflow store stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .scratch site
	@find src tests flows -name __pycache__ -type d -prune -exec rm -rf {} +
