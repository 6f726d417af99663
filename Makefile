# Debian 12 with Rust is all that these need; they install the rest (see deploy/setup-debian.sh).
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' Makefile

setup: ## install what building, the demo and the tests need
	@deploy/setup-debian.sh test

demo: build-demo ## run on a demo camera; Ctrl-C ends it
	@exec deploy/demo.sh $(TARGET)/release/tarsier

build-demo:
	@deploy/setup-debian.sh demo
	@$(CARGO) build --release --locked

test: setup ## all tests, with fault injection compiled in
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --features failpoints && $(CARGO) test --doc --locked --features failpoints; \
	else \
		$(CARGO) test --locked --features failpoints; \
	fi

lint: ## formatting and clippy
	@$(CARGO) fmt --check
	@$(CARGO) clippy --locked --all-targets --features failpoints -- -D warnings

bench: setup ## CPU and memory beside ffmpeg's bare decoding, as a table
	@$(CARGO) bench --locked --bench cameras

quality: setup ## how well motion is detected: DIR=folder with clips and a truth.json
	@$(CARGO) bench --locked --bench quality -- $(abspath $(DIR))

bench-backtest: setup ## how fast stored video is replayed through the detector, as a table
	@$(CARGO) bench --locked --bench backtest

bench-index: ## questions to an index of two million recordings, as a table
	@$(CARGO) bench --locked --bench index

bench-viewers: setup ## what 200 viewers of live video cost those who record, as a table
	@$(CARGO) bench --locked --bench viewers

screenshots: setup ## take the pictures of the pages in docs/ anew
	@$(CARGO) bench --locked --profile dev --bench screenshots

.PHONY: help setup demo build-demo test lint bench quality bench-backtest bench-index bench-viewers screenshots
.DEFAULT_GOAL := help
