# Every target does the set-up that it needs (package: none); a finished set-up costs a few milliseconds.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick test-all test-long test-package lint format bench bench-dataset bench-sweep bench-burst bench-readers bench-metrics bench-help bench-package check-infra lock package clean
PYTHON ?= python3
RUN = .venv/bin/python -m
# Three workers, since tests wait for processes; a file of tests to one of them: each has a local cloud of its own.
PARALLEL = -n 3 --dist loadfile --no-loadscope-reorder
# One test at a time to whoever is free: the thorough ones take minutes each.
SHARED_OUT = -n 3 --dist load --maxschedchunk 1
export PYTHON313 PYTHON311

help: ## This list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Both environments, Azurite, the small models (MODEL=SmolLM2-135M-Instruct: that one too)
	@$(PYTHON) scripts/setup.py $(if $(MODEL),--model '$(MODEL)')

demo: setup ## From a dropped dataset to an answering endpoint and away again (MODEL=, DATA=folder)
	@$(RUN) cli demo $(if $(MODEL),--model '$(MODEL)') $(if $(DATA),--data '$(DATA)')

test: setup ## All tests; the slow ones train and serve for real
	@$(RUN) pytest $(PARALLEL)

test-quick: setup ## Without the slow ones
	@$(RUN) pytest $(PARALLEL) -m "not slow and not thorough"

test-all: test ## The same, then the thorough ones: the whole crash matrix, chaos, a worse model
	@$(PYTHON) scripts/setup.py --reader
	@$(RUN) pytest $(SHARED_OUT) -m thorough

test-package: setup ## The package of `make package`, as Azure would run it (part of make test-all)
	@$(RUN) pytest -m "thorough or not thorough" tests/package

test-long: setup ## 100,000 mutated inputs a series, bombs in full size, 10,000 steps of chaos (hours; the inputs go on where they were)
	@DROPTUNE_LONG=1 $(RUN) pytest -m "" tests/dataset/test_properties.py tests/dataset/reading/test_bombs.py tests/dataset/reading/test_hostile.py tests/dataset/test_real_files.py
	@$(RUN) tests.kit.dataset.fuzz --inputs $(or $(INPUTS),100000) --processes 2
	@DROPTUNE_LONG=1 $(RUN) pytest -n 2 --dist load -m thorough tests/chaos/test_machine.py

lint: setup ## Format, rules, types, layers
	@.venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet . && .venv/bin/mypy && .venv/bin/lint-imports

format: setup ## Rewrite the code in the project's format
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

bench: setup ## Cold start of the app against an empty one
	@$(RUN) benchmarks.cold_start

bench-dataset: ## Checking and splitting 1 GB of rows: ours, six libraries, the floors (SIZE_MB=, ROUNDS=, ARGS=)
	@$(PYTHON) scripts/setup.py --bench
	@.venv-bench/bin/python -m benchmarks.dataset $(if $(SIZE_MB),--size-mb $(SIZE_MB)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

bench-sweep: setup ## A sweep beside 10,000 runs that have ended, against one beside none (ARGS=)
	@$(RUN) benchmarks.sweep $(ARGS)

bench-burst: setup ## 100 and 1,000 uploads at once, two hosts, events tripled and shuffled (ARGS="--uploads 20")
	@$(RUN) benchmarks.burst $(ARGS)

bench-readers: setup ## CPU per MB and memory of files made to hurt a reader, at 4, 8, 16 and 32 MB (ARGS="--only csv")
	@$(RUN) benchmarks.hostile_readers $(ARGS)

bench-metrics: setup ## CPU of metrics of 50 endpoints: the app's REST call against Azure's own client (ARGS=)
	@$(RUN) benchmarks.metrics $(ARGS)

bench-help: setup ## CPU of `droptune --help` against a Python that does nothing, in pairs (ARGS=)
	@$(RUN) benchmarks.help_cost $(ARGS)

check-infra: ## Bicep against checkov's rules, in an environment of its own; not part of make test
	@$(PYTHON) scripts/check_infra.py

bench-package: package setup ## The imports of the package against those with fresh .pyc, and with none (ARGS=)
	@$(RUN) benchmarks.package_import $(ARGS)

lock: setup ## Lock files from requirements*.in (needs uv)
	@$(RUN) scripts.lock

package: ## What is deployed to Azure: dist/app and its zip file (needs Python 3.13 and pip alone)
	@$(PYTHON) -m scripts.package

clean: ## Remove everything that was made, the local cloud's state included
	rm -rf .venv .venv-model .venv-bench .venv-reader .venv-checkov .models .droptune dist localcloud/azurite/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
