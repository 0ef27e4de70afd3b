package election_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A peer is one life of a process that is a candidate.
type peer struct {
	s       *simulation
	name    string // of this life alone
	machine *machine
	network *redistest.Network
	latency time.Duration // of its network when nothing is wrong
	e       *election.Election
	stop    context.CancelFunc
	done    chan struct{} // Run has returned for good
	began   time.Time
	mood    *rand.Rand

	companions []*companion

	// Of the driver.
	faults []*redistest.Faults // of its network, besides those of all

	// Guarded by simulation.mu.
	killed   bool
	leaving  bool            // it was stopped
	gone     bool            // it has ended, and that was seen
	wrong    []span          // what was wrong with it, and when
	cut      []span          // when it heard nothing from the server
	burnt    []time.Time     // when it met a connection to a server that does not serve any more
	broken   []time.Time     // when it met one that was broken
	flaps    int             // troubles that end its connections that subscribe
	short    time.Time       // since when no replica has confirmed an attempt of its, or of anybody; zero: one has
	resigned int64           // the fence of its last term that ended so
	deaf     bool            // it has lost replies: it may listen to a dead connection
	ctx      context.Context // of its work, nil when it does not work
	fence    int64           // of its last term
	start    time.Time       // of that term
	working  bool
	returned time.Time       // when its work last did
	rests    time.Time       // until when it may let others go first
	led      int64           // the fence of which Changes last said that it leads
	told     election.Change // the last
	stats    election.Stats  // the last
	over     bool            // told is the end of a term, and nothing came late of this term
	owes     bool            // its work has failed, and Changes has not told of it
	failed   bool            // its last work has failed
	late     bool            // and the context of Run had ended then
}

var errMood = errors.New("mood")

// begin starts a process in a slot.
func (s *simulation) begin(slot int) {
	s.lives++
	p := &peer{
		s:       s,
		name:    fmt.Sprintf("c%d.%d", slot, s.lives),
		machine: newMachine(),
		done:    make(chan struct{}),
		began:   time.Now(),
		mood:    rand.New(rand.NewPCG(s.seed, uint64(s.lives))),
	}
	p.latency = time.Duration(p.mood.Int64N(int64(s.latency) + 1))
	p.network = redistest.NewNetwork(s.t, func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, p) })
	p.e = candidate(s.t, p.dial, p.name, p.work)
	p.e.Lock.Lease, p.e.Lock.Replicas = s.lease, s.replicas
	p.e.BackOff = func() backoff.BackOff {
		return backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(s.lease/40),
			backoff.WithMaxInterval(s.lease/4),
			backoff.WithMaxElapsedTime(0),
		)
	}
	s.bringCompanions(p, slot)
	s.mu.Lock()
	s.slots[slot] = p
	s.peers = append(s.peers, p)
	s.names[p.name] = p
	s.mu.Unlock()
	p.apply()
	ctx, cancel := context.WithCancel(clock.NewContext(s.t.Context(), p.machine))
	p.stop = cancel
	go p.live(ctx)
}

// live runs until ctx ends, or until the work panics, which ends a process.
func (p *peer) live(ctx context.Context) {
	defer close(p.done)
	var company sync.WaitGroup
	defer company.Wait()
	together, leave := context.WithCancel(ctx)
	defer leave()
	for _, c := range p.companions {
		company.Go(func() { c.live(together) })
	}
	wrong, heard := false, make(chan struct{})
	defer func() { <-heard }()
	changes := p.e.Changes()
	go func() {
		defer close(heard)
		before := <-changes
		for c := range changes {
			p.s.hears(p, before, c)
			before = c
		}
		if before.Leading {
			p.s.errorf("%s: its story ends with %+v", p.name, before)
		}
	}()
	defer func() {
		if r := recover(); r != nil && r != errMood {
			panic(r)
		}
	}()
	err := p.e.Run(context.WithValue(ctx, runKey{}, ctx))
	p.s.set(func() { wrong = err != nil && !(p.failed && err == errMood) || p.late && err == nil })
	if wrong {
		p.s.errorf("%s: Run: %v, and its work has failed %v, late %v", p.name, err, p.failed, p.late)
	}
	if ctx.Err() == nil {
		p.s.errorf("%s: Run has returned", p.name)
	}
}

// runKey is the key of the context of Run in the context of its work.
type runKey struct{}

// work is OnElected, in some mood.
func (p *peer) work(ctx context.Context) (err error) {
	s := p.s
	fence, _ := setlock.FenceFromContext(ctx)
	mood, linger := p.mood.Float64(), time.Duration(p.mood.ExpFloat64()*float64(s.lease)/4)
	s.elected(ctx, p, fence)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.rests = time.Now().Add(s.lease / 2) // longer than any step of its pace
		if errors.Is(context.Cause(ctx), election.ErrResigned) {
			p.resigned = fence
			p.rests = time.Now().Add(s.lease / 20) // longer than the first
		}
		p.ctx, p.working, p.returned = nil, false, time.Now()
		p.failed = err == errMood
		p.owes = p.failed
		p.late = p.failed && ctx.Value(runKey{}).(context.Context).Err() != nil
	}()
	select {
	case <-s.calm:
		mood = 0.5
	default:
	}
	soon := 0.1
	if *simOnly != "" {
		soon = 0
		if happens("resign soon", true) {
			soon = 0.5
		}
	}
	switch {
	case mood < 0.05:
		return errMood
	case mood < 0.1:
		panic(errMood)
	case mood < 0.2: // a while of work, and that is it
		select {
		case <-ctx.Done():
			s.ended(ctx, p)
		case <-time.After(linger):
		case <-s.calm:
		}
		return nil
	case mood > 1-soon: // resigns soon, or at once
		linger = time.Duration(p.mood.Int64N(int64(s.lease/100))) / []time.Duration{1, 8, 100}[p.mood.IntN(3)]
		select {
		case <-ctx.Done():
		case <-s.calm:
		case <-time.After(linger):
			s.set(func() { s.sum.troubles["resign soon"]++ })
			p.e.Resign()
		}
	}
	<-ctx.Done()
	s.ended(ctx, p)
	if mood < 0.4 { // ignores its context for a while
		select {
		case <-time.After(linger):
		case <-s.calm:
		}
		return nil
	}
	if mood < 0.6 { // fails besides
		return errMood
	}
	return ctx.Err()
}

// apply makes the network as bad as all that is wrong with it.
func (p *peer) apply() {
	f := redistest.Faults{HoldReplies: p.machine.asleep(0), Delay: p.latency, Jitter: p.s.jitter}
	for _, faults := range [][]*redistest.Faults{p.faults, p.s.faults} {
		for _, g := range faults {
			f.HoldRequests = f.HoldRequests || g.HoldRequests
			f.HoldReplies = f.HoldReplies || g.HoldReplies
			f.LoseReplies = f.LoseReplies || g.LoseReplies
			f.Refuse = f.Refuse || g.Refuse
			f.Delay = max(f.Delay, g.Delay)
		}
	}
	p.network.Set(f)
	if f.LoseReplies {
		p.s.mu.Lock()
		p.deaf = true
		p.s.mu.Unlock()
	}
}

// troubled returns what was wrong with p between two times, with it alone or with all.
// simulation.mu is locked.
func (p *peer) troubled(from, to time.Time) []span {
	var found []span
	for _, spans := range [][]span{p.wrong, p.s.wrong} {
		for _, w := range spans {
			if w.meets(from, to) {
				found = append(found, w)
			}
		}
	}
	return found
}

// reaches reports whether p reached the server, whatever that answered. simulation.mu
// is locked.
func (p *peer) reaches(from, to time.Time) bool {
	return !slices.ContainsFunc(p.troubled(from, to), func(w span) bool { return !w.answers })
}

// stumbled reports whether p has met a connection since from that was of no use, because
// of what was wrong before. simulation.mu is locked.
func (p *peer) stumbled(from time.Time) bool {
	return lately(p.burnt, from) || lately(p.broken, from)
}

func lately(times []time.Time, from time.Time) bool {
	return len(times) > 0 && !times[len(times)-1].Before(from)
}

// calmSince reports whether nothing was. simulation.mu is locked.
func (p *peer) calmSince(from, to time.Time) bool { return len(p.troubled(from, to)) == 0 }

// leave ends the process as a signal does that it handles.
func (p *peer) leave() {
	p.s.set(func() { p.leaving = true })
	p.stop()
}

// kill ends the process as kill -9 does. What it has sent may arrive, however late.
func (p *peer) kill(lost bool) {
	s := p.s
	s.mu.Lock()
	p.killed = true
	s.mu.Unlock()
	p.network.HangUp()
	if lost {
		p.network.Reset()
	}
	p.leave()
}

// bury checks that nothing is left of a process that has ended: a while later, for an
// acquisition is undone behind its back.
func (p *peer) bury() {
	if p.machine.asleep(undoTime) {
		p.s.queue = append(p.s.queue, event{at: time.Now().Add(undoTime), f: p.bury})
		return
	}
	p.e.Lock.Pool.Close()
	wait()
	if open := p.network.Open(); open > 0 {
		p.s.errorf("%s: %d connections are open after its end", p.name, open)
	}
}
