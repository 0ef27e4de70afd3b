package docs_test

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/docs"
	"example.com/setlock/internal/redistest"
)

// A rule says what is done with a command of the documentation.
type rule struct {
	run func(t *testing.T, command string) // nil: the command is not run

	// For a command that is not run:
	because string
	proof   string // a file of the repository that has text
	text    string
}

// rules are the commands of the documentation. A command that is not here fails the test.
var rules = map[string]rule{
	"go run ./examples/leader": {run: func(t *testing.T, command string) {
		shell(t, root, command+" -for 10s", "leads")
	}},
	"go run ./examples/leader -redis localhost:6379 -id a -lease 5s": {run: func(t *testing.T, command string) {
		server := redistest.NewServer(t)
		shell(t, root, strings.Replace(command, "localhost:6379", server.Addr, 1)+" -for 6s", "leads")
	}},
	"go run ./examples/leader -redis localhost:6379 -key nightly -- ./report.sh": {run: func(t *testing.T, command string) {
		server := redistest.NewServer(t)
		shell(t, root, strings.NewReplacer("localhost:6379", server.Addr, "./report.sh", "echo reports").Replace(command), "reports")
	}},
	"go test ./...": {
		because: "it is the command that runs this test", proof: ".ci/run", text: "\ntry go test ./...\n",
	},
	"go mod edit -replace example.com/setlock=../setlock": {run: inModuleOfUser},
	"go mod tidy": {because: "TestCommands runs it after the command before it",
		proof: "internal/docs/commands_test.go", text: `go mod tidy &&`},
	"go run .": {because: "TestREADMEProgramRuns builds and runs the program",
		proof: "internal/docs/program_test.go", text: "func TestREADMEProgramRuns("},
	"go test ./... -run '^$' -bench 'LockUnlock|EmptyDo|HandOver|Resign|Told|Stopped' -benchtime 100x":              benchmarks,
	"go test ./... -run '^$' -bench 'Idle|Scale' -benchtime 3x":                                                     benchmarks,
	"go test ./... -run '^$' -bench 'Crash' -benchtime 20x -timeout 30m":                                            benchmarks,
	"go test ./election -run '^$' -bench 'Followers|LeaderDeath' -benchtime 1x":                                     benchmarks,
	"go -C internal/compare run . -quick":                                                                           compares,
	"go -C internal/compare run .":                                                                                  compares,
	"go -C internal/compare run . -scenarios hand-over -peers floor,rueidislock,setlock/election":                   compares,
	"go -C internal/compare run . -scenarios many -locks 1000":                                                      compares,
	"go -C internal/compare run . -out . -page ../../docs/benchmarks.md -svg ../../docs/benchmarks.svg":             compares,
	"go -C internal/compare run . -from results.json -page ../../docs/benchmarks.md -svg ../../docs/benchmarks.svg": compares,
}

// compares is the rule of commands of the comparison.
var compares = rule{
	because: "the comparison needs modules that this one does not", proof: "internal/compare/smoke_test.go", text: "func TestQuick(",
}

// benchmarks is the rule of commands that run for minutes.
var benchmarks = rule{
	because: "it runs for minutes", proof: ".ci/run", text: "\ngo test ./... -run '^$' -bench . -benchtime 1x ",
}

// inModuleOfUser does what the README tells a user to do: the program of the README is alone in a
// module beside a clone of this one.
func inModuleOfUser(t *testing.T, command string) {
	if runtime.GOOS == "windows" {
		t.Skip("a shell and links are needed")
	}
	m := &module{t, t.TempDir()}
	m.write("yours/main.go", readmeProgram(t).Text)
	here, err := exec.Command("sh", "-c", "cd "+root+" && pwd").Output()
	if err != nil {
		t.Fatal(err)
	}
	shell(t, m.dir, "ln -s '"+strings.TrimSpace(string(here))+"' setlock && cd yours && "+
		"export GOFLAGS=-mod=mod && go mod init example.com/yours && "+command+" && go mod tidy && go vet . && echo works", "works")
}

// shell runs a command in a directory. It fails t if the command fails, or does not print want.
func shell(t *testing.T, dir, command, want string) {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, sh, "-c", command)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s: %v, want %q in\n%s", command, err, want, out)
	}
}

// Every command of the manual is run, or is listed with the reason why it is not and with what
// proves it.
func TestCommands(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range pages(t) {
		if !isManual(p.Name) {
			continue
		}
		report(t, docs.UnknownCommands(p, func(command string) bool {
			_, known := rules[command]
			return known || isRedisCLI(command)
		}))
		for _, b := range p.Blocks {
			if !docs.IsShell(b) {
				continue
			}
			for _, command := range docs.Commands(b) {
				if !seen[command] {
					t.Run(command, func(t *testing.T) { check(t, command) })
				}
				seen[command] = true
			}
		}
	}
	for command := range rules {
		if !seen[command] {
			t.Errorf("no page has the command %q", command)
		}
	}
}

func isRedisCLI(command string) bool { return strings.HasPrefix(command, "redis-cli ") }

// check runs a command, or checks what proves it.
func check(t *testing.T, command string) {
	if isRedisCLI(command) {
		testRedisCLI(t, command)
		return
	}
	r := rules[command]
	if r.run != nil {
		t.Parallel()
		r.run(t, command)
		return
	}
	if r.because == "" || r.text == "" || !strings.Contains(read(t, r.proof), r.text) {
		t.Errorf("%s, which proves the command, does not have %q", r.proof, r.text)
	}
	report(t, docs.UnmatchedPatterns(command, functions(t)))
}

// notRun are the languages of blocks that are not run, with the reason.
var notRun = map[string]string{
	"sql":  "nothing that this module depends on runs SQL",
	"yaml": "nothing that this module depends on reads YAML, and a test has no Kubernetes",
}

// Every block of the manual is in a language that a test checks, or that is listed with the reason.
func TestLanguages(t *testing.T) {
	checked := map[string]string{"go": "TestGoCompiles", "lua": "TestLua", "redis": "TestRedisCommands"}
	names := functions(t)
	for _, p := range pages(t) {
		if !isManual(p.Name) {
			continue
		}
		report(t, docs.UnknownBlocks(p, func(lang string) bool {
			return names[checked[lang]] || notRun[lang] != "" || docs.IsShell(docs.Block{Lang: lang})
		}))
	}
}
