package election_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A soakPeer is one candidate: a process with a pool of its own, behind a network of its own.
type soakPeer struct {
	s        *soak
	name     string
	network  *redistest.Network
	troubled int // how often, for the driver
	pool     *redis.Pool
	stop     context.CancelFunc
	done     chan struct{}

	// Guarded by soak.mu.
	e       *election.Election
	working *soakTerm // nil when it does not work
	mood    *rand.Rand
	ill     []*soakSpan // in which its network was not well, lately
}

// begin starts a candidate, as a new process does.
func (p *soakPeer) begin() {
	s := p.s
	p.pool = redistest.Pool(s.t, p.network.Dial)
	p.done = make(chan struct{})
	ctx, cancel := context.WithCancel(s.t.Context())
	p.stop = cancel
	go func() {
		defer close(p.done)
		for ctx.Err() == nil {
			p.run(ctx)
		}
	}()
}

// run is one Run. A panic ends it as it would end a process, and another Run is another process.
func (p *soakPeer) run(ctx context.Context) {
	s := p.s
	e := &election.Election{
		Lock:      &setlock.Lock{Key: "k", Pool: p.pool, Owner: p.name, Lease: s.lease},
		OnElected: p.work,
		BackOff: func() backoff.BackOff {
			return backoff.NewExponentialBackOff(
				backoff.WithInitialInterval(s.lease/20), backoff.WithMaxInterval(s.lease/2), backoff.WithMaxElapsedTime(0),
			)
		},
	}
	s.mu.Lock()
	p.e = e
	s.mu.Unlock()
	changes := e.Changes()
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(changes)
	}()
	defer func() {
		r := recover()
		if r != nil && r != "mood" {
			panic(r)
		}
		<-read // closed by Run
		// Check reports a panic of Run.
		if err := e.Check(0); (err != nil) != (r != nil) || e.IsLeader() {
			s.errorf("%s: Check says %v after Run, which panicked with %v, IsLeader %v", p.name, err, r, e.IsLeader())
		}
	}()
	if err := e.Run(ctx); err != nil {
		s.errorf("%s: Run: %v", p.name, err)
	}
}

// end stops a candidate and waits until nothing of it is left.
func (p *soakPeer) end() {
	s := p.s
	start := time.Now()
	p.stop()
	<-p.done
	// Its work may linger for half a lease, and the release takes a sixth at most.
	if took, late := time.Since(start), s.stalls.since(start); took > s.lease+late {
		s.errorf("%s: Run returned %v after its context ended, with a stall of %v", p.name, took, late)
	}
	p.pool.Close()
}

// read checks the story that Changes tells of one Run.
func (p *soakPeer) read(changes <-chan election.Change) {
	var before election.Change
	var led int64
	for c := range changes {
		p.s.mu.Lock()
		by, known := p.s.fences[c.Fence]
		p.s.mu.Unlock()
		switch {
		case c.Leading && (before.Leading || c.Fence <= led || c.Leader != p.name || c.Err != nil):
			p.s.errorf("%s: told %+v after %+v", p.name, c, before)
		case before.Leading && !c.Leading && c.Leader != "":
			p.s.errorf("%s: told %+v after %+v", p.name, c, before)
		case known && by != c.Leader:
			p.s.errorf("%s: told %+v, and %s has that fence", p.name, c, by)
		case c.Time.Before(before.Time):
			p.s.errorf("%s: told of %v after %v", p.name, c.Time, before.Time)
		}
		if c.Leading {
			led = c.Fence
		}
		before = c
	}
	if before.Leading {
		p.s.errorf("%s: its story ends with %+v", p.name, before)
	}
}

// work is OnElected.
func (p *soakPeer) work(ctx context.Context) error {
	s := p.s
	term, mood, linger := s.elected(ctx, p)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.working = nil
	}()
	counted := func(i int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.moods[i]++
	}
	switch {
	case mood < 0.05:
		counted(0)
		return errors.New("mood")
	case mood < 0.1:
		counted(1)
		panic("mood")
	case mood < 0.2: // a while of work, and that is it
		counted(2)
		select {
		case <-ctx.Done():
		case <-time.After(linger):
		}
		return nil
	case mood < 0.4: // ignores its context for a while
		<-ctx.Done()
		counted(3)
		time.Sleep(linger)
		return nil
	case mood < 0.9: // until the key, which it keeps, has been looked at
		<-ctx.Done()
		<-term.over
		return ctx.Err()
	}
	<-ctx.Done()
	return ctx.Err()
}

// suffer begins a trouble of its network, in place of any other.
func (p *soakPeer) suffer(f redistest.Faults) (heal func()) {
	over := p.s.illness(&p.ill)
	p.troubled++
	n := p.troubled
	p.network.Set(f)
	return func() {
		if p.troubled == n {
			p.network.Set(redistest.Faults{})
		}
		over()
	}
}
