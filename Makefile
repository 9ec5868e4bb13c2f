# `make help` lists what there is.

PYTHON ?= python3
CARGO  ?= cargo
VENV   := .venv
STAMP  := $(VENV)/requirements.stamp

.DEFAULT_GOAL := help
.PHONY: help run test check venv packages

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The development build: it is there in a minute, and the release build makes no difference here.
run: ## play the local role on the embedded GAC, until Ctrl-C
	$(CARGO) build --quiet
	application_type=local IDENTITY=file:docker/local/gac.json ./target/debug/runner run

test: venv check ## set up what the tests need, then every check and test
	$(CARGO) run --quiet -- validate
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run --no-fail-fast; \
	else \
	    $(CARGO) test --no-fail-fast; \
	fi

check: ## format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --quiet --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --log-level error check licenses bans sources; fi

venv: $(STAMP) ## .venv with the Python packages of the tests

$(STAMP): tests/requirements.txt tests/requirements.lock | packages
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	    --requirement tests/requirements.txt --constraint tests/requirements.lock
	touch $@

# What the tests need of the system, installed where it is missing and we may.
packages:
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv; \
	    else \
	        echo 'the tests need Python 3.11 with venv (Debian: python3-venv)' >&2; exit 1; \
	    fi; \
	fi
