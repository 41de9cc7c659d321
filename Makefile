# Everything a checkout needs. A machine brings Python 3.11 or newer and make; each target builds what it uses.
#
#   make demo ARGS="--keep"      arguments for `seawall demo`
#   make unit ARGS="-k canonical"  arguments for pytest, also for `make test`
#   make PYTHON=python3.12 ...   another interpreter

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

ARGS ?=
CANDIDATES := python3.13 python3.12 python3.11 python3 python

# The first interpreter that runs, is new enough and can make a virtual environment (Debian ships venv apart).
# The upper bound is where the pinned wheels end; a newer one is tried last and would have to compile.
FIND_PYTHON = for candidate in $(if $(PYTHON),$(PYTHON),$(CANDIDATES)); do \
	  "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    >/dev/null 2>&1 && { python=$$candidate; break; }; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: needs Python 3.11, 3.12 or 3.13 with its venv module, found none of: \
	$(if $(PYTHON),$(PYTHON),$(CANDIDATES)) (Debian: apt-get install python3 python3-venv; or make PYTHON=...)" >&2; \
	  exit 1; \
	fi

# $(1) the environment's folder, $(2) its requirements. A half-made environment is never taken for a whole one:
# the stamp is written last. The project itself is installed without looking anything up.
define MAKE_VENV
@python=; $(FIND_PYTHON); \
	echo "make: $(1) from $(2) with $$("$$python" --version)"; \
	rm -f $(1)/stamp && "$$python" -m venv $(1)
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r $(2)
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-index \
	--no-build-isolation --editable .
@touch $(1)/stamp
endef

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/stamp: pyproject.toml requirements/dev.txt
	$(call MAKE_VENV,.venv,requirements/dev.txt)

.venv-demo/stamp: pyproject.toml requirements/demo.txt
	$(call MAKE_VENV,.venv-demo,requirements/demo.txt)

.PHONY: venv
venv: .venv/stamp ## Make .venv, for development

.PHONY: demo
demo: .venv-demo/stamp ## Watch the gate work on the crashes of 2008 and 2020
	@.venv-demo/bin/seawall demo $(ARGS)

.PHONY: test
test: lint ## Run every check and every test (starts a Kafka broker)
	.venv/bin/python -m pytest $(ARGS)

.PHONY: unit
unit: .venv/stamp ## Run the tests that need no broker
	.venv/bin/python -m pytest -m "not broker" $(ARGS)

.PHONY: chaos
chaos: .venv/stamp ## Kill, freeze and move workers and kill brokers for 10 to 25 minutes, and judge the log
	.venv/bin/python -m pytest tests/chaos -s $(ARGS)

.PHONY: bench
bench: .venv/stamp ## Measure everything, and the peers, in half an hour (starts a Kafka broker); writes docs/benchmarks
	.venv/bin/python -m tests.benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: .venv/stamp ## Try every benchmark but the peers at a small scale, in minutes; writes nothing
	.venv/bin/python -m tests.benchmarks --quick $(ARGS)

.PHONY: oracle
oracle: .venv/stamp ## Compare 100,000 random decisions with an independent checker
	.venv/bin/python -m tests.oracle $(or $(ARGS),--cases 100000)

.PHONY: lint
lint: .venv/stamp ## Run ruff, mypy and the import contracts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

.PHONY: format
format: .venv/stamp ## Let ruff mend what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# One resolution for all: dev first, then the smaller sets held to the same versions.
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --group build $(UPGRADE)

.PHONY: lock
lock: ## Pin the requirements again (make lock UPGRADE=--upgrade for newer versions)
	@[ -x .venv/bin/uv ] || { echo "make: run 'make venv' first" >&2; exit 1; }
	$(LOCK) --all-extras pyproject.toml -o requirements/dev.txt
	$(LOCK) --extra demo -c requirements/dev.txt pyproject.toml -o requirements/demo.txt
	$(LOCK) -c requirements/dev.txt pyproject.toml -o requirements/runtime.txt

.PHONY: clean
clean: ## Remove the environments and every cache
	rm -rf .venv .venv-demo build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
