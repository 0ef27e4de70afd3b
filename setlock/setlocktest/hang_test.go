package setlocktest_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/setlock/setlock/setlocktest"
)

// hangs is the environment variable that has TestBubble run the bubble of this name.
const hangs = "SETLOCKTEST_HANGS"

// reached is what a bubble prints before it hangs.
const reached = "so far, so good"

// deadlock is the panic of a bubble whose goroutines do not end.
const deadlock = "deadlock: main bubble goroutine has exited but blocked goroutines remain"

// bubbles are what the documentation of the package warns of.
var bubbles = map[string]struct {
	test   func(t *testing.T, srv *setlocktest.Server)
	panics bool // with deadlock; else it hangs
}{
	"a network": {func(t *testing.T, _ *setlocktest.Server) {
		miniredis.RunT(t)
		fmt.Println(reached)
		time.Sleep(time.Second)
	}, false},
	"a mutex": {func(t *testing.T, srv *setlocktest.Server) {
		pool := srv.Pool()
		srv.CutOff(pool)
		var mu sync.Mutex
		call := func() {
			mu.Lock()
			defer mu.Unlock()
			do(t, pool, "PING")
		}
		go call()
		synctest.Wait() // until it waits for the reply, with the mutex
		fmt.Println(reached)
		call()
	}, false},
	"nothing comes": {func(t *testing.T, srv *setlocktest.Server) {
		go newScheduler(srv.Pool(), func() {}).Run(t.Context())
		synctest.Wait()
		fmt.Println(reached)
		<-make(chan int)
	}, false},
	"Run does not end": {func(_ *testing.T, srv *setlocktest.Server) {
		go newScheduler(srv.Pool(), func() {}).Run(context.Background())
		synctest.Wait()
		fmt.Println(reached)
	}, true},
	"OnElected is slow to stop": {func(t *testing.T, srv *setlocktest.Server) {
		e := newScheduler(srv.Pool(), func() {})
		e.OnElected = func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		}
		go e.Run(t.Context())
		synctest.Wait()
		fmt.Println(reached)
	}, true},
}

// A bubble that the documentation warns of hangs, or panics, as it says.
func TestBubblesThatHang(t *testing.T) {
	for name, bubble := range bubbles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBubble$")
			child.Env = append(os.Environ(), hangs+"="+name)
			var stderr strings.Builder
			child.Stderr = &stderr
			stdout, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && lines.Text() != reached {
				t.Log(lines.Text())
			}
			killed := make(chan bool, 1)
			timer := time.AfterFunc(time.Second/2, func() {
				if !bubble.panics {
					killed <- child.Process.Kill() == nil
				}
			})
			for lines.Scan() {
			}
			err = child.Wait()
			if bubble.panics {
				timer.Stop()
				if !strings.Contains(stderr.String(), deadlock) {
					t.Errorf("%v, want %q:\n%s", err, deadlock, stderr.String())
				}
			} else if timer.Stop() || !<-killed {
				t.Errorf("it has ended by itself: %v\n%s", err, stderr.String())
			}
		})
	}
}

// TestBubble runs one bubble, for TestBubblesThatHang.
func TestBubble(t *testing.T) {
	bubble, ok := bubbles[os.Getenv(hangs)]
	if !ok {
		t.Skip("run by TestBubblesThatHang, in a process of its own")
	}
	synctest.Test(t, func(t *testing.T) { bubble.test(t, setlocktest.NewServer(t)) })
}

// A test that waits for the end of an OnElected that is slow to stop does not panic.
func TestWaitForASlowOnElected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newScheduler(setlocktest.NewServer(t).Pool(), func() {})
		e.OnElected = func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		}
		done := make(chan error, 1)
		go func() { done <- e.Run(t.Context()) }()
		synctest.Wait()
		t.Cleanup(func() {
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	})
}
