#!/usr/bin/env bash
# Generates the Go code beside each .proto file. Needs protoc (Debian: protobuf-compiler);
# the Go plugins are pinned as tools in go.mod.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v protoc >/dev/null || { echo "proto/generate.sh: protoc is missing; install it (Debian: apt-get install protobuf-compiler)" >&2; exit 1; }
find proto -name '*.proto' -print0 | sort -z | xargs -0 protoc -I . \
	--plugin=protoc-gen-go="$(go tool -n protoc-gen-go)" \
	--plugin=protoc-gen-go-grpc="$(go tool -n protoc-gen-go-grpc)" \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative
