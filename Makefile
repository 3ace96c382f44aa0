# Short names for what is done often. Everything that must hold before a change lands is in .ci/run.

.PHONY: build test race lint format docs check snapshot fuzz clean

build: ## both binaries, in bin/
	go build -trimpath -o bin/ . ./cmd/etcdx-lab

test:
	go test ./...

race:
	go test -race -short ./pkg/... ./cmd

lint:
	.ci/run format lint

format: ## rewrites the sources in the format that CI wants
	"$$(.ci/run tool golangci-lint)" fmt

docs: ## writes docs/cli from the help texts
	go run ./scripts/gendocs

check: ## what CI runs
	.ci/run

snapshot: ## all archives and packages in dist/, unsigned and without SBOM (scripts/try-release.sh tries them)
	"$$(.ci/run tool goreleaser)" release --snapshot --clean --skip=publish,sign,sbom

FUZZTIME ?= 1m
fuzz: ## every fuzz target for FUZZTIME
	scripts/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin dist
