# Everything a developer types. Two commands matter: `make demo` and `make test`; both set up what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export AIXGO_DEV_CACHE ?= $(HOME)/.cache/aixgo-dev
PY := .venv/bin/python
CLUSTER := $(PY) -m tests.support.cluster
# Most tests wait for something. Whole files, in the order in which they are named: the longest first.
AT_ONCE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test test-fast lint bench soak generate lock images cluster cluster-down kubeconfig \
	prerequisites clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## make .venv in the checkout, every extra, locked versions
	@tests/support/setup_venv.sh

prerequisites: setup
	@$(CLUSTER) prerequisites

demo: prerequisites ## cluster, images, chart, examples/quickstart, a conversation that survives its pod
	@$(PY) -m tests.support.demo

test: prerequisites ## every test, the end-to-end ones included
	@$(PY) -m pytest $(AT_ONCE) tests/e2e tests/integration/operator tests/integration tests/unit

test-fast: setup ## unit tests only: no root, no cluster, under a minute
	@$(PY) -m pytest $(AT_ONCE) tests/unit

lint: setup ## ruff, mypy --strict, import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

bench: prerequisites ## sessions, calls and the operator against peers and limits: results in build/benchmarks
	@$(PY) -m benchmarks.sessions
	@$(PY) -m benchmarks.runtime
	@$(PY) -m benchmarks.operator

soak: prerequisites ## long forms of the fault tests: hundreds of kills and cuts, ten minutes of rotation under load
	@$(PY) -m tests.soak.file_crashes --rounds 200
	@$(PY) -m tests.soak.redis_faults --rounds 20
	@$(PY) -m tests.soak.operator_crashes
	@$(PY) -m tests.soak.operator_histories --seconds 600
	@$(PY) -m tests.soak.runtime_rotation --seconds 600
	@$(PY) -m tests.soak.cluster_drain --seconds 60

generate: setup ## CRDs, gRPC code and tables in docs from their sources
	@$(PY) runtime_image/proto/generate.py
	@$(PY) -m aixgo_operator.api.crdgen .
	@$(PY) docs/generate.py

lock: setup ## new versions into requirements/*.lock
	@tests/support/lock.sh

images: prerequisites ## build the images and print where they are
	@$(CLUSTER) images

cluster: prerequisites ## a kind cluster for development
	@$(CLUSTER) up

cluster-down: ## remove it without a trace
	@if [ -x $(PY) ]; then $(CLUSTER) down; fi

kubeconfig: ## print the path of the cluster's kubeconfig
	@$(CLUSTER) kubeconfig

clean: cluster-down ## remove the cluster and what was built in the checkout (the cache stays)
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
