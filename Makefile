# The front door. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
SWARM := target/release/swarm
NAME ?= demo
NODES ?= 3
# Containers and namespaces need root. A user's build stays the user's: only what runs is given root.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
ifneq ($(AS_ROOT),)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := sudo -E
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := sudo -E
endif

# Virtual clusters run by `make soak`: without end unless a number is given.
SEEDS ?=
# What reads text from outside, each with a fuzz target; and the seconds that each of them gets.
FUZZ_TARGETS ?= compose template filters bodies
FUZZ_SECONDS ?= 60

.PHONY: help demo demo-down test test-unit test-sim test-cluster test-vm soak fuzz check tidy deny bench build clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the release binary, target/release/swarm
	scripts/setup.sh build
	$(CARGO) build --release --locked -p swarm

demo: ## set-up, build, a cluster of three hosts on this machine, and a stack that runs on it
	scripts/setup.sh demo
	$(CARGO) build --release --locked -p swarm
	$(AS_ROOT) scripts/demo.sh up $(SWARM) $(NAME) $(NODES)

demo-down: ## take the demo's hosts down; nothing of them stays
	$(AS_ROOT) scripts/demo.sh down $(SWARM) $(NAME)

test: ## set-up, build, every test (runs tests as root)
	scripts/setup.sh test
	$(MAKE) test-unit
	$(MAKE) test-sim
	$(MAKE) test-cluster

test-unit: ## the tests of every crate, without the three-host runs
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) nextest run --locked --workspace --no-tests=pass
	$(CARGO) test --locked --workspace --doc --quiet

test-sim: ## 500 virtual clusters with faults, and that what is broken on purpose is noticed
	$(CARGO) run --locked --quiet -p sim --profile sim -- --seeds 0..500
	$(CARGO) run --locked --quiet -p sim --profile sim -- --mutations

soak: ## a minute for each fuzz target, then virtual clusters with faults until it is stopped or something is found; SEEDS=n: that many
	@if scripts/setup.sh fuzz; then $(MAKE) fuzz; \
	else echo "soak: NOTHING WAS FUZZED: cargo-fuzz cannot be had here, see above" >&2; fi
	$(CARGO) run --locked --quiet -p sim --profile sim -- $(if $(SEEDS),--seeds 1000..$$((1000 + $(SEEDS))),--soak 1000)

# cargo-fuzz asks for a nightly compiler; the pinned one does it when it is told so. What is found is kept in
# target/fuzz/found, and what leads to new places in target/fuzz/corpus.
fuzz: ## the fuzz targets, a minute each; FUZZ_SECONDS=n, FUZZ_TARGETS="compose bodies"
	scripts/setup.sh fuzz
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p target/fuzz/corpus/$$target target/fuzz/found; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir fuzz --target-dir target/fuzz $$target target/fuzz/corpus/$$target fuzz/seeds/$$target \
	    -- -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=target/fuzz/found/$$target- -print_final_stats=1 -verbosity=0; \
	done

test-cluster: ## the real binary on three hosts made of network namespaces
	$(CARGO) nextest run --locked --workspace --profile cluster

test-vm: ## the runtime's tests and one whole node on a cgroup v2 host, a virtual machine (minutes; not in `make test`)
	scripts/setup.sh vm
	scripts/vm-test.sh

check: ## formatting, lints, licences and advisories, documentation, tidy, 50 virtual clusters
	scripts/setup.sh check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(MAKE) deny
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	$(MAKE) tidy
	$(CARGO) run --locked --quiet -p sim --profile sim -- --seeds 0..50

tidy: ## the rules of the tree: imports, file sizes, unsafe
	$(CARGO) test --locked --quiet -p tidy

# The advisory database comes from a git host, not from a package registry: where it cannot be had,
# that is said, and the other checks count.
deny:
	$(CARGO) deny --log-level error check bans licenses sources
	@if timeout 60 $(CARGO) deny --log-level error fetch db >/dev/null 2>&1; then \
	  $(CARGO) deny --log-level error check advisories; \
	else echo "deny: advisories NOT checked: the advisory database cannot be fetched from here" >&2; fi

bench: ## time the leader's decisions; measure start rate, failover and memory beside Docker Swarm; WRITE=1 puts those into BENCHMARKS.md
	scripts/setup.sh bench
	$(CARGO) bench --locked -p core --bench speed --bench memory
	$(CARGO) bench --locked -p swarm --bench figures -- $(if $(WRITE),--write $(CURDIR)/BENCHMARKS.md)

clean: ## remove what was built
	$(CARGO) clean
