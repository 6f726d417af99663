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
	@if tests/support/can_mount_ext4.sh; then \
		$(CARGO) test --locked --features failpoints --test disk -- --ignored; \
	else \
		echo "not run: the test on ext4, because a loop device cannot be mounted here"; \
	fi

lint: ## formatting and clippy
	@$(CARGO) fmt --check
	@$(CARGO) clippy --locked --all-targets --features failpoints -- -D warnings

bench: setup ## CPU and memory beside ffmpeg's bare decoding, as a table
	@$(CARGO) bench --locked --bench cameras

quality: setup ## how well motion is detected: DIR=folder with clips and a truth.json
	@$(CARGO) bench --locked --bench quality -- $(abspath $(DIR))

soak: setup ## kills, full disks, cut networks, lost indexes at random: MINUTES=20 CAMERAS=16 SPEED=8 SEED=…
	@MINUTES=$(or $(MINUTES),20) CAMERAS=$(or $(CAMERAS),16) SPEED=$(or $(SPEED),8) $(if $(SEED),SEED=$(SEED)) \
		$(CARGO) test --release --locked --test soak -- --ignored --exact soak --nocapture

bench-backtest: setup ## how fast stored video is replayed through the detector, as a table
	@$(CARGO) bench --locked --bench backtest

bench-index: ## questions to an index of two million recordings, as a table
	@$(CARGO) bench --locked --bench index

bench-viewers: setup ## what 200 viewers of live video cost those who record, as a table
	@$(CARGO) bench --locked --bench viewers

screenshots: setup ## take the pictures of the pages in docs/ anew
	@$(CARGO) bench --locked --profile dev --bench screenshots

.PHONY: help setup demo build-demo test lint bench quality soak bench-backtest bench-index bench-viewers screenshots
.DEFAULT_GOAL := help
