# Every command of the project; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?=
find_python = $(if $(PYTHON),"$(PYTHON)",$$(tools/find_python.sh))
bin := .venv/bin

.PHONY: help
help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup:  ## Make .venv with everything that development needs (does nothing when nothing changed)
	@python="$(find_python)" && "$$python" tools/setup_environment.py dev
