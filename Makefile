# Every command of the project; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
find_python = $$(tools/find_python.sh "$(PYTHON)")
bin := .venv/bin

PORT ?= 8080
STORE ?= sqlite:///var/session-tokens.db

compile := $(bin)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header pyproject.toml
run_parts := --extra service --extra webhooks --extra client --extra cli --extra sealed --extra valkey --extra postgres --extra mysql \
	--group install

.PHONY: help
help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup:  ## Make .venv with everything that development needs (does nothing when nothing changed)
	@python="$(find_python)" && "$$python" tools/setup_environment.py dev

.PHONY: run
# The address of the store goes by the environment: it may hold a password, and arguments are seen by everyone.
run: export SESSION_TOKENS_STORE = $(value STORE)
run:  ## Start the service on 127.0.0.1 (PORT=8080, STORE=sqlite:///var/session-tokens.db)
	@python="$(find_python)" && "$$python" tools/setup_environment.py run
	@mkdir -p var && chmod 0700 var
	@exec $(bin)/session-tokens serve --port "$(PORT)"

.PHONY: example
example: example_store = $(if $(filter file,$(origin STORE)),sqlite:///var/example-$(NAME).db,$(value STORE))
example: export SESSION_TOKENS_STORE = $(example_store)
example: export USERS_DB = var/example-users.db
example: setup  ## Run an example on 127.0.0.1 (NAME=fastapi_tickets, PORT=8000, STORE=sqlite:///…); see examples/README.md
	@test -f "examples/$(NAME)/app.py" || { echo "no example $(NAME); there are: $$(ls -d examples/*/app.py | xargs -n1 dirname | xargs -n1 basename | xargs)" >&2; exit 2; }
	@mkdir -p var && chmod 0700 var
	@exec $(bin)/python "examples/$(NAME)/app.py" $(if $(filter file,$(origin PORT)),8000,$(PORT))

.PHONY: test
test: setup  ## Run every check: style, types, floors, generated twin, tests
	@$(bin)/python tools/system_packages.py
	@$(bin)/python tools/run_checks.py

.PHONY: quick
quick: setup  ## Run the tests that start no server, no browser and no other process
	@$(bin)/python tools/run_checks.py --quick

.PHONY: prove
prove: setup  ## Run every check with many more random examples; writes a dated report into var/
	@$(bin)/python tools/system_packages.py --insist
	@$(bin)/python tools/run_checks.py --prove

.PHONY: suites
suites: setup  ## Run other projects' own tests with our sessions in the place of theirs (fetches their sdists)
	@$(bin)/python -m tools.suites

.PHONY: interop
interop: setup  ## Run other programs and packages against ours, each as it is published; fetches what it needs
	@$(bin)/python -m pytest -m interop tests/interop $(ARGS)

.PHONY: compiled
compiled: setup  ## Build the wheel with a compiled core into .venv-compiled and run the tests of the core against it
	@$(bin)/python tools/compiled_environment.py

.PHONY: lint
lint: setup  ## Run the checks that need no test run: style, types, floors, generated twin
	@$(bin)/python tools/run_checks.py --only-still

.PHONY: format
format: setup  ## Put the code into its layout and mend what can be mended
	@$(bin)/ruff check --fix --quiet || true
	@$(bin)/ruff format

.PHONY: bench
bench: setup  ## Measure against the peers (BENCH="name --option": one question); results go to benchmarks/results/
	@$(bin)/python -m benchmarks $(BENCH)

.PHONY: lock
lock: setup  ## Pin the newest versions that pyproject.toml allows, with hashes and without addresses
	@$(compile) --upgrade $(run_parts) -o requirements/run.txt
	@$(compile) --upgrade --all-extras --group dev -c requirements/run.txt -o requirements/dev.txt
	@$(compile) --group compile -c requirements/dev.txt -o requirements/compile.txt
	@git --no-pager diff --stat -- requirements

.PHONY: changelog
changelog: setup  ## Show the entries that the next release will have
	@$(bin)/towncrier build --draft --version next

.PHONY: clean
clean:  ## Remove everything that was made here, except var/
	@rm -rf .venv .venv-compiled dist build .nox .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
