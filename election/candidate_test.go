package election_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// The environment of a candidate's process.
const (
	candidateRedis = "SETLOCK_TEST_REDIS" // host:port
	candidateName  = "SETLOCK_TEST_NAME"
)

// processLease is the lease of these candidates, long for machines that are busy.
const processLease = 2 * time.Second

// The register stands for anything that the leader writes to. It refuses a fence that is smaller than
// one that it has seen, and counts the writes that it accepts.
var register = redis.NewScript(1, `
local seen = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
if tonumber(ARGV[1]) < seen then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'writes', 1)`)

// write writes to the register with fence. It returns the number of the write, 0 if the register
// refused it.
func write(ctx context.Context, conn redis.Conn, fence int64) (int, error) {
	return redis.Int(register.DoContext(ctx, conn, "register", fence))
}

// A report is one line of the output of a candidate's process.
type report struct {
	Who   string    `json:"who"`
	What  string    `json:"what"`            // a constant, hasElected and so on
	At    time.Time `json:"at"`              // by the wall clock, which all processes share; of a write, before it
	Fence int64     `json:"fence,omitempty"` // of its own term; of a change, the leader's
	Write int       `json:"write,omitempty"` // which write the register has accepted
	Owner string    `json:"owner,omitempty"` // of a change: who leads
	Leads bool      `json:"leads,omitempty"` // of a change
	Err   string    `json:"err,omitempty"`
}

const (
	hasElected  = "elected"
	hasEnded    = "ended"    // its context has ended, with the cause Err
	hasWritten  = "written"  // the register has accepted a write
	hasRefused  = "refused"  // the register has refused a write
	hasFailed   = "failed"   // a write has failed
	hasChecked  = "checked"  // Check tells that OnElected still runs: Err
	hasChanged  = "changed"  // Changes has told it
	hasReturned = "returned" // Run has returned
)

// runCandidate is the process of a candidate. It runs until SIGTERM, or until its standard input ends
// because the process of the test has ended.
func runCandidate() int {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	pool := &redis.Pool{MaxIdle: 4, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", os.Getenv(candidateRedis), redis.DialConnectTimeout(time.Second))
	}}
	defer pool.Close()
	a := &actor{name: os.Getenv(candidateName), pool: pool, out: json.NewEncoder(os.Stdout)}
	a.election = &election.Election{
		Lock:      &setlock.Lock{Key: "k", Pool: pool, Owner: a.name, Lease: processLease},
		OnElected: a.work,
	}
	var told sync.WaitGroup
	changes := a.election.Changes()
	told.Go(func() {
		for c := range changes {
			said := report{What: hasChanged, At: c.Time, Fence: c.Fence, Owner: c.Leader, Leads: c.Leading}
			if c.Err != nil {
				said.Err = c.Err.Error()
			}
			a.tell(said)
		}
	})
	err := a.election.Run(ctx)
	told.Wait()
	if err != nil {
		a.tell(report{What: hasReturned, Err: err.Error()})
		return 1
	}
	a.tell(report{What: hasReturned})
	return 0
}

// An actor is the candidate in a process of its own.
type actor struct {
	name     string
	pool     *redis.Pool
	election *election.Election

	mu  sync.Mutex
	out *json.Encoder
}

func (a *actor) tell(e report) {
	if e.Who = a.name; e.At.IsZero() {
		e.At = time.Now()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out.Encode(e)
}

// work is OnElected. It writes all the time, and once more after its context has ended. After a loss
// it runs on until Check has told of it.
func (a *actor) work(ctx context.Context) error {
	fence, _ := setlock.FenceFromContext(ctx)
	a.tell(report{What: hasElected, Fence: fence})
	var told sync.WaitGroup
	told.Go(func() { // not held up by a write
		<-ctx.Done()
		a.tell(report{What: hasEnded, Fence: fence, Err: context.Cause(ctx).Error()})
	})
	for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
		a.attempt(fence)
	}
	told.Wait()
	a.attempt(fence)
	if !errors.Is(context.Cause(ctx), setlock.ErrLost) {
		return nil
	}
	for late := time.Now().Add(processLease); time.Now().Before(late); time.Sleep(time.Millisecond) {
		// Right after SIGCONT, Check may also tell that Redis has not answered.
		if err := a.election.Check(10 * time.Millisecond); errors.Is(err, election.ErrOverdue) {
			a.tell(report{What: hasChecked, Fence: fence, Err: err.Error()})
			break
		}
	}
	return nil
}

// attempt writes even if the context of the work has ended, as careless work may.
func (a *actor) attempt(fence int64) {
	conn := a.pool.Get()
	defer conn.Close()
	bounded, cancel := context.WithTimeout(context.Background(), processLease)
	defer cancel()
	at := time.Now()
	switch n, err := write(bounded, conn, fence); {
	case err != nil:
		a.tell(report{What: hasFailed, At: at, Fence: fence, Err: err.Error()})
	case n == 0:
		a.tell(report{What: hasRefused, At: at, Fence: fence})
	default:
		a.tell(report{What: hasWritten, At: at, Fence: fence, Write: n})
	}
}
