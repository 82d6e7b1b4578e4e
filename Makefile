# make demo   the stack that comes with caisson, the whole road on this machine
# make test   every test
# make e2e    install on real Kubernetes nodes, with no way out (root, Linux)
# make e2e-controllers  install real charts and their controllers there
# make e2e-mission      install the stack that comes with caisson there
# make check  what must hold before a commit
# make bench  side by side with skopeo, crane, oras and curl
# make bench-scale  resolve and plan of stacks with 150 and 1,000 images

SHELL      := /bin/bash
GO         ?= go
BIN        := bin
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT     ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS    := -s -w -X github.com/caisson/caisson/internal/ui/cli.version=$(VERSION) -X github.com/caisson/caisson/internal/ui/cli.commit=$(COMMIT)
GOFLAGS_BUILD := -trimpath -ldflags "$(LDFLAGS)"
RACE_PKGS  := ./bundle/... ./internal/event/... ./internal/client/fetch/... ./internal/client/registry/... ./internal/command/pack/... ./internal/command/verify/... ./internal/command/serve/... ./internal/command/load/...
FUZZTIME   ?= 1000x

.PHONY: all build demo test check bench bench-scale fmt vet lint race imports fuzz tools cluster node controllers e2e e2e-controllers e2e-mission clean

all: build

build:
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_BUILD) -o $(BIN)/caisson ./cmd/caisson

demo: build
	@test/demo.sh

# The cluster and the independent readers are built once and kept outside the
# tree; the build prints where.
cluster:
	@test/build.sh cluster >/dev/null
tools:
	@test/build.sh tools >/dev/null
node:
	@test/build.sh node >/dev/null
controllers:
	@test/build.sh controllers >/dev/null

test: cluster tools
	CAISSON_TEST_REQUIRE=1 CAISSON_TEST_CLUSTER_BIN="$$(test/build.sh cluster)" CAISSON_TEST_TOOLS_BIN="$$(test/build.sh tools)" \
		$(GO) test -timeout 45m ./...

# Two nodes in namespaces of their own. It needs root, control groups of
# version 1, iproute2, iptables and runc; where one is missing it says so and
# passes.
e2e: build cluster node
	CAISSON_TEST_BINARY="$(CURDIR)/$(BIN)/caisson" CAISSON_TEST_CLUSTER_BIN="$$(test/build.sh cluster)" CAISSON_TEST_NODE_BIN="$$(test/build.sh node)" \
		$(GO) test -count=1 -v -timeout 15m -run TestRealNodes ./test/e2e

# The same nodes with cert-manager, NFD, JobSet, Kueue, Trainer and KServe, by
# their own charts. Their binaries are built once, from their modules.
e2e-controllers: build cluster node controllers
	CAISSON_TEST_BINARY="$(CURDIR)/$(BIN)/caisson" CAISSON_TEST_CLUSTER_BIN="$$(test/build.sh cluster)" CAISSON_TEST_NODE_BIN="$$(test/build.sh node)" \
		CAISSON_TEST_CONTROLLERS_BIN="$$(test/build.sh controllers)" $(GO) test -count=1 -v -timeout 50m -run TestRealControllers ./test/e2e

# The stack that comes with caisson, on the same nodes by the same controllers: its
# profiles minimal and training, with a model that answers and a TrainJob.
e2e-mission: build cluster node controllers
	CAISSON_TEST_BINARY="$(CURDIR)/$(BIN)/caisson" CAISSON_TEST_CLUSTER_BIN="$$(test/build.sh cluster)" CAISSON_TEST_NODE_BIN="$$(test/build.sh node)" \
		CAISSON_TEST_CONTROLLERS_BIN="$$(test/build.sh controllers)" $(GO) test -count=1 -v -timeout 25m -run TestMission ./test/e2e

check: fmt vet lint race imports fuzz

fmt:
	@out="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$out" ]; then echo "gofmt wants to change:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

lint: tools
	@"$$(test/build.sh tools)"/staticcheck ./...

race:
	$(GO) test -race -short -timeout 45m $(RACE_PKGS)

imports:
	$(GO) test -run 'Imports' -count=1 ./internal/ui/cli

# Every fuzz target for a short while; their seeds also run in make test.
fuzz:
	@test/fuzz.sh $(FUZZTIME)

bench: build tools
	CAISSON_TEST_TOOLS_BIN="$$(test/build.sh tools)" $(GO) run ./internal/testkit/bench -caisson $(BIN)/caisson $(if $(BEFORE),-before $(BEFORE))

bench-scale: build cluster
	CAISSON_TEST_CLUSTER_BIN="$$(test/build.sh cluster)" $(GO) run ./internal/testkit/bench scale -caisson $(BIN)/caisson $(if $(BEFORE),-before $(BEFORE))

clean:
	rm -rf $(BIN) demo bench-out
