# Short names for the commands of README.md, docs/ and .ci/run. .ci/run runs all that a change must pass.

BENCH = .
BENCHTIME = 1x
SOAK_FOR = 30s

.PHONY: help test race lint bench soak compare

help: ## list the targets
	@sed -n 's/^\([a-z]*\): ## /\1	/p' $(MAKEFILE_LIST)

test: ## run the tests; tests of a real Redis are skipped if redis-server is missing
	go test ./...

race: ## run the tests and the histories with the race detector, on a real Redis
	SETLOCK_REQUIRE_REDIS=1 go test -race -shuffle=on -timeout 12m ./...
	cd internal/history && SETLOCK_REQUIRE_REDIS=1 go test -race ./...

lint: ## check format, modules and workflows, and run the linters
	.ci/run lint

bench: ## run the benchmarks, as in: make bench BENCH=HandOver BENCHTIME=100x
	go test ./... -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME)

soak: ## run candidates through faults on a real Redis, as in: make soak SOAK_FOR=1h
	SETLOCK_REQUIRE_REDIS=1 go test ./election -run '^TestSoak$$' -soak.for $(SOAK_FOR) -timeout 0 -v

compare: ## measure this project beside other libraries, for a quarter of an hour, and rewrite docs/benchmarks.md
	cd internal/compare && go run . -out . -page ../../docs/benchmarks.md -svg ../../docs/benchmarks.svg
