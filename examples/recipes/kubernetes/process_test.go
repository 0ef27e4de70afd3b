package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"example.com/setlock/examples/recipes/internal/recipetest"
	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// isProgram is the environment variable that makes the test binary run main.
const isProgram = "RECIPE_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(isProgram) != "" {
		main()
		return
	}
	leaktest.Main(m)
}

// The program as a process, on a real Redis: SIGTERM makes it hand over and exit with 0.
func TestSIGTERM(t *testing.T) {
	srv := redistest.NewServer(t)
	observer := &setlock.Lock{Key: "scheduler", Pool: redistest.Pool(t, srv.Dial)}
	holder := func() string {
		h, err := observer.Holder(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return h.Owner
	}
	launch := func(owner string) *recipetest.Process {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), isProgram+"=1", "REDIS_URL=redis://"+srv.Addr, "OWNER="+owner, "LISTEN=127.0.0.1:0")
		return recipetest.Start(t, cmd, syscall.SIGTERM)
	}
	a := launch("a")
	recipetest.Eventually(t, "a leads", func() bool { return holder() == "a" })
	launch("b")
	if err := a.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	recipetest.Receive(t, "the end of a", a.Exited())
	if code := a.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("a has exited with %d:\n%s", code, a.Output())
	}
	if holder() == "a" {
		t.Error("a has not released the lock")
	}
	recipetest.Eventually(t, "b leads", func() bool { return holder() == "b" })
}
