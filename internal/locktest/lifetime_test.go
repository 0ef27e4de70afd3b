package locktest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
)

// A test waits for what never comes while a session is renewed. The process ends, with the name of
// the test and the stacks of its bubble.
func TestStuckTestEnds(t *testing.T) {
	if os.Getenv("LOCKTEST_STUCK") != "" {
		locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
			locktest.MustDo(t, w.Lock(time.Hour), func(context.Context) error {
				<-make(chan struct{})
				return nil
			})
		})
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "LOCKTEST_STUCK=1")
	out, err := cmd.CombinedOutput()
	text := string(out)
	for _, want := range []string{"panic: " + t.Name() + " has not ended", "locktest.MustDo", "(*renewer).run"} {
		if err == nil || !strings.Contains(text, want) {
			t.Errorf("the process ended with %v, want %q in what it says: %.4000s", err, want, text)
		}
	}
	if strings.Contains(text, "testing.(*M).Run") {
		t.Errorf("it shows goroutines of no bubble: %.4000s", text)
	}
}
