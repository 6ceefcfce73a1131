# Two commands: `make run` and `make test`. Both install what is missing first.

CARGO ?= cargo
STATE_DIR ?= $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/windlass
ARGS ?=

# rustup puts cargo here; the tests' own tools come first.
export PATH := $(CURDIR)/.tools/bin:$(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help

.PHONY: run
run: build ## Build and run on a repository made of examples-repo (STATE_DIR=, ARGS=)
	@scripts/run-demo '$(STATE_DIR)' $(ARGS)

.PHONY: build
build: setup-build ## Build target/release/windlass
	$(CARGO) build --release --locked

.PHONY: test
test: setup-test ## Check format and lints, build the documentation, run all tests
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' $(CARGO) doc --locked --no-deps --quiet
	$(CARGO) test --locked --doc --quiet
	$(CARGO) nextest run --locked

.PHONY: lint
lint: ## Check format and lints only
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- --deny warnings

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt

.PHONY: bench
bench: setup-build ## Run the benchmarks
	$(CARGO) bench --locked

.PHONY: envoy
envoy: setup-envoy ## Install Envoy as .tools/envoy

.PHONY: kubernetes
kubernetes: setup-kubernetes ## Install etcd, kube-apiserver and kubectl into .tools

.PHONY: setup-build setup-test setup-envoy setup-kubernetes
setup-build setup-test setup-envoy setup-kubernetes:
	@scripts/$@

.PHONY: help
help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
