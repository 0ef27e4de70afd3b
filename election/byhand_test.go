package election_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// byHand returns the command of docs/operations.md that forces a failover, as a shell takes it.
func byHand(t *testing.T) (command string) {
	t.Helper()
	b, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^    (redis-cli EVAL ".*" 1 scheduler)$`).FindAllStringSubmatch(string(b), -1)
	if len(found) != 1 {
		t.Fatalf("%d commands in docs/operations.md, want one", len(found))
	}
	return found[0][1]
}

// The command of docs/operations.md tells the leader at once. The next leader is elected
// when the expiry has passed that the key had, and two never lead.
func TestFailoverByHand(t *testing.T) {
	script := regexp.MustCompile(`"(.*)"`).FindStringSubmatch(byHand(t))[1]
	inBubble(t, func(t *testing.T, w *world) {
		lost := make(chan time.Time, 1)
		a := w.candidate("a", func(ctx context.Context) error {
			<-ctx.Done()
			if errors.Is(context.Cause(ctx), setlock.ErrLost) {
				lost <- time.Now()
			}
			return nil
		})
		b := w.candidate("b", nil)
		a.Lock.Key, b.Lock.Key = "scheduler", "scheduler"
		w.leadAndFollow(a, b)
		changes := changesOf(t, b)
		time.Sleep(lease / 7)
		left := w.server.TTL("scheduler").Truncate(time.Millisecond)
		begin := time.Now()
		if got := redistest.Do(t, w.server.Dial, "EVAL", script, 1, "scheduler"); got != left.Milliseconds() {
			t.Errorf("the command returned %v, want the time left, %v", got, left)
		}
		synctest.Wait()
		if at := <-lost; !at.Equal(begin) || a.IsLeader() {
			t.Errorf("the leader was told after %v, want at once", at.Sub(begin))
		}
		if c := next(t, changes, 0); c.Leader != "failover" || c.Fence != 0 {
			t.Errorf("told %+v, want that the key is taken", c)
		}
		if got := w.server.TTL("scheduler"); got != left {
			t.Errorf("the key has %v left, want %v", got, left)
		}
		for !a.IsLeader() && !b.IsLeader() && time.Since(begin) < 2*lease {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(begin); took < left-time.Millisecond || took > left+10*time.Millisecond {
			t.Errorf("a leader after %v, want %v", took, left)
		}
		// Nobody holds the lock: the command does nothing.
		w.server.Del("scheduler")
		if got := redistest.Do(t, w.server.Dial, "EVAL", script, 1, "scheduler"); got != int64(0) || w.server.Exists("scheduler") {
			t.Errorf("without a holder the command returned %v", got)
		}
	})
}

// The same in a shell, with redis-cli and a real server.
func TestFailoverByHandWithRedisCLI(t *testing.T) {
	command := byHand(t)
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip(err)
	}
	server := redistest.NewServer(t)
	_, port, _ := strings.Cut(server.Addr, ":")
	const lease = 2 * time.Second
	elected := make(chan *election.Election, 10)
	lost := make(chan time.Time, 10)
	for _, owner := range []string{"a", "b"} {
		var e *election.Election
		e = candidate(t, server.Dial, owner, func(ctx context.Context) error {
			elected <- e
			<-ctx.Done()
			if errors.Is(context.Cause(ctx), setlock.ErrLost) {
				lost <- time.Now()
			}
			return nil
		})
		e.Lock.Key, e.Lock.Lease = "scheduler", lease
		start(t, e)
	}
	<-elected
	time.Sleep(lease / 2) // the leader has subscribed
	begin := time.Now()
	out, err := exec.Command("sh", "-c", strings.Replace(command, "redis-cli", cli+" -p "+port, 1)).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) == "0" {
		t.Fatalf("%s: %v, %s", command, err, out)
	}
	told := (<-lost).Sub(begin)
	<-elected
	took := time.Since(begin)
	t.Logf("the leader was told %v after the command began, the next was elected after %v", told, took)
	if took < lease/2 {
		t.Errorf("the next leader after %v, want what was left of %v", took, lease)
	}
}
