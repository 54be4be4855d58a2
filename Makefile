# Needs Go; each target says what else is missing.
.DEFAULT_GOAL := help
.PHONY: help build fmt lint test race bench demo generate ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: need-go ## compile everything; the demo into .bin/demo-bank
	go build ./...
	go build -o .bin/demo-bank ./cmd/demo-bank

fmt: need-lint ## format the sources
	.bin/golangci-lint fmt ./...

lint: need-lint ## run the linters
	.bin/golangci-lint run ./...

test: need-go ## run the tests
	go test ./...

race: need-go ## run the tests with the race detector
	@command -v gcc >/dev/null || { echo "make race: gcc is missing (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	go test -race -timeout 15m ./...

bench: need-go ## compare with what it is built on: three minutes
	go test -run '^$$' -bench . -timeout 30m ./bench

demo: need-go ## start the bank on three nodes of this machine
	go run ./cmd/demo-bank dev

generate: need-go ## generate code from proto/
	proto/generate.sh

ci: ## everything that continuous integration checks
	@.ci/run

.PHONY: need-go need-lint
need-go:
	@command -v go >/dev/null || { echo "make: go is missing; install the version that go.mod names" >&2; exit 1; }

need-lint: need-go
	@test -x .bin/golangci-lint || { echo "make: .bin/golangci-lint is missing; '.ci/run tools' installs the pinned version" >&2; exit 1; }
