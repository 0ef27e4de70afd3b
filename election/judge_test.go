package election_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// A tenure is a term of some candidate, as a test has seen it. It lasts while its end is zero.
type tenure struct {
	who        string
	fence      int64
	begin, end time.Time
}

// A ledger is the tenures of all candidates, in the order in which they began.
type ledger []tenure

// overlap returns the longest time for which two tenures went on at once, and these two.
func (l ledger) overlap(now time.Time) (longest time.Duration, old, young tenure) {
	for i, a := range l {
		for _, b := range l[i+1:] { // begun later
			end := now
			for _, t := range []tenure{a, b} {
				if !t.end.IsZero() && t.end.Before(end) {
					end = t.end
				}
			}
			if d := end.Sub(b.begin); d > longest {
				longest, old, young = d, a, b
			}
		}
	}
	return longest, old, young
}

// alone fails t if two have led at once for longer than allowed.
func (l ledger) alone(t *testing.T, allowed time.Duration) {
	t.Helper()
	if d, old, young := l.overlap(time.Now()); d > allowed {
		t.Errorf("two led for %v, want %v at most: %+v and %+v", d, allowed, old, young)
	}
}

// fences fails t unless the fences have increased from tenure to tenure.
func (l ledger) fences(t *testing.T) {
	t.Helper()
	for i := 1; i < len(l); i++ {
		if l[i].fence <= l[i-1].fence {
			t.Errorf("%s is elected with the fence %d after %d", l[i].who, l[i].fence, l[i-1].fence)
		}
	}
}

// A judge watches who leads, and when, among candidates in the process of the test.
type judge struct {
	t      *testing.T
	lease  time.Duration
	stalls stallMeter // for so much longer than promised may a candidate believe that it leads

	mu     sync.Mutex
	ledger ledger
}

func newJudge(t *testing.T, lease time.Duration) *judge {
	j := &judge{t: t, lease: lease}
	j.stalls.start(t)
	return j
}

// candidate returns an election that j watches.
func (j *judge) candidate(who string, pool *redis.Pool, replicas int) *election.Election {
	return &election.Election{
		Lock:      &setlock.Lock{Key: "k", Owner: who, Lease: j.lease, Pool: pool, Replicas: replicas},
		OnElected: func(ctx context.Context) error { return j.work(ctx, who) },
	}
}

// work is the OnElected of a candidate.
func (j *judge) work(ctx context.Context, who string) error {
	fence, _ := setlock.FenceFromContext(ctx)
	j.mu.Lock()
	i := len(j.ledger)
	j.ledger = append(j.ledger, tenure{who: who, fence: fence, begin: time.Now()})
	j.mu.Unlock()
	<-ctx.Done()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ledger[i].end = time.Now()
	return nil
}

// all returns the tenures so far.
func (j *judge) all() ledger {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append(ledger(nil), j.ledger...)
}

// of returns the tenures of a candidate.
func (j *judge) of(who string) (found ledger) {
	for _, term := range j.all() {
		if term.who == who {
			found = append(found, term)
		}
	}
	return found
}

// leads reports whether there is exactly one leader, after more terms than so many.
func (j *judge) leads(terms int) bool {
	all := j.all()
	leaders := 0
	for _, term := range all {
		if term.end.IsZero() {
			leaders++
		}
	}
	return leaders == 1 && len(all) > terms
}

// first starts e, and returns when it has led for half a lease, and so has renewed.
func (j *judge) first(e *election.Election) {
	j.t.Helper()
	start(j.t, e)
	eventually(j.t, 20*time.Second, "a first leader", func() bool { return j.leads(0) })
	time.Sleep(j.lease / 2)
}

// awaitTerm waits until a candidate has been elected.
func (j *judge) awaitTerm(who string) {
	j.t.Helper()
	eventually(j.t, 30*time.Second, "a term of "+who, func() bool { return len(j.of(who)) > 0 })
}

// awaitEnd waits for the end of the first tenure of a candidate, and returns the tenure.
func (j *judge) awaitEnd(who string) tenure {
	j.t.Helper()
	eventually(j.t, 20*time.Second, "the end of the term of "+who, func() bool { return !j.of(who)[0].end.IsZero() })
	return j.of(who)[0]
}

// overlap returns the longest time for which two have led at once.
func (j *judge) overlap() time.Duration {
	d, _, _ := j.all().overlap(time.Now())
	return d
}

// alone fails the test if two have led for longer than a stall explains.
func (j *judge) alone() {
	j.t.Helper()
	j.all().alone(j.t, j.stalls.ever())
}

// failOver has three candidates, with Replicas 1, elect a leader. It has the primary of that leader
// killed, and waits for a leader again.
func (j *judge) failOver(pool func() *redis.Pool, kill func()) {
	j.t.Helper()
	for _, who := range []string{"0", "1", "2"} {
		start(j.t, j.candidate(who, pool(), 1))
	}
	eventually(j.t, 20*time.Second, "a first leader", func() bool { return j.leads(0) })
	time.Sleep(j.lease)
	terms := len(j.all())
	begin := time.Now()
	kill()
	// The lock of the leader may live on with the new primary, and the term with the lock.
	eventually(j.t, 60*time.Second, "a leader after the failover", func() bool {
		return j.leads(terms) || time.Since(begin) > 3*j.lease && j.leads(terms-1)
	})
	j.t.Logf("a leader on the new primary %v after the old one was killed, with a lease of %v", time.Since(begin).Round(time.Millisecond), j.lease)
	j.alone()
	j.all().fences(j.t)
}
