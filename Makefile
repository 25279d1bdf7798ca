# What a developer does here; each target sets up what it needs by itself.
# Arguments for pytest: make test-unit ARGS='-k pool -x'

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo shell test test-unit test-guest test-e2e bench-trace lint types proto proto-check \
	lock clean deb e2e-vagrant

VENV := vagrant/setup.sh
LAB := vagrant/setup.sh --lab
PYTEST := python -m pytest
# Two guests' worth of tests at a time: they wait for each other's disks and timers, not for cores.
# In the order of their names: the longest is not the last.
GUESTS := --verbose --numprocesses 2 --dist loadfile --no-loadscope-reorder
ARGS ?=
# The folders given, unless ARGS names tests itself.
tests_in = $(if $(filter tests/%,$(ARGS)),,$(1)) $(ARGS)

PROTOS := $(wildcard proto/frazil/v1/*.proto)
PROTOC := python -m grpc_tools.protoc -I.
GENERATED := $(foreach proto,$(PROTOS:.proto=),$(proto)_pb2.py $(proto)_pb2.pyi $(proto)_pb2_grpc.py)
SCRIPTS := .ci/run $(wildcard vagrant/*.sh vagrant/*/*.sh dist/*/*.sh dist/deb/p*) \
	dist/systemd/frazil-generator

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install all that the other targets need (apt and a virtual environment); cached
	@$(LAB)

demo: ## Mirror a busy volume between two guests, and show it
	@$(LAB) python -m vagrant.demo $(ARGS)

shell: ## Open a shell in a guest
	@$(LAB) python -m vagrant.lab shell $(ARGS)

test: ## Run every check and every test
	@vagrant/checks.sh lint types proto-check test-unit test-guest test-e2e

test-unit: ## Run the tests that need no guest, in seconds
	@$(VENV) $(PYTEST) --numprocesses auto $(call tests_in,tests/unit tests/property)

test-guest: ## Run the tests against a real kernel, in guests
	@$(LAB) $(PYTEST) $(GUESTS) $(call tests_in,tests/guest)

test-e2e: ## Run the tests of several hosts, in guests
	@$(LAB) $(PYTEST) $(GUESTS) $(call tests_in,tests/e2e)

bench-trace: ## Measure what tracing costs the head, in a guest
	@$(LAB) python -m tests.bench.trace $(ARGS)

lint: ## Check the style of Python and shell
	@$(VENV) ruff check .
	@$(VENV) ruff format --check .
	@for script in $(SCRIPTS); do bash -n "$$script" || exit; done

types: ## Check the types
	@$(VENV) mypy

proto: ## Generate the gRPC code again
	@$(VENV) $(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)

proto-check: ## See that the generated code is what the .proto files say
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(VENV) $(PROTOC) --python_out="$$fresh" --pyi_out="$$fresh" --grpc_python_out="$$fresh" \
		$(PROTOS) && \
	for file in $(GENERATED); do \
		diff -u "$$file" "$$fresh/$$file" || { echo "$$file is out of date: make proto"; exit 1; }; \
	done && echo "The generated code is what the .proto files say."

deb: ## Build the Debian package, in build/
	@$(VENV) dist/deb/build.sh build

e2e-vagrant: ## Test on whole Debian machines under Vagrant, from the box to their end
	@vagrant/setup.sh --vms python -m vagrant.vms e2e $(call tests_in,tests/e2e_vagrant)

lock: ## Pin the newest versions of what pyproject.toml asks for
	@$(VENV) vagrant/lock.sh

clean: ## Remove what the tools leave in the tree; the cache outside it stays
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
