// Package scenario measures peers. Each round runs all scenarios, and each scenario all
// peers, in an order that changes from round to round.
package scenario

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/report"
	"example.com/setlock/internal/compare/server"
)

// A Scenario is one kind of measurement.
type Scenario struct {
	Name string
	run  func(*Bench, context.Context, int) error
}

// Run measures all peers of b that take part. Rounds count from 0.
func (s Scenario) Run(ctx context.Context, b *Bench, round int) error { return s.run(b, ctx, round) }

// All returns the scenarios in the order of the report.
func All() []Scenario {
	return []Scenario{
		{report.HandOver, (*Bench).handOver},
		{report.Crash, (*Bench).crash},
		{report.Many, (*Bench).many},
		{report.Loss, (*Bench).loss},
		{report.Stopped, (*Bench).stopped},
	}
}

// Bench is what all scenarios share.
type Bench struct {
	Redis   *server.Server
	Etcd    *server.Server
	Peers   []peer.Peer
	Size    Size
	Results *report.Results
	Log     io.Writer // receives progress, and what went wrong

	keys atomic.Int64
	mu   sync.Mutex // guards Log
}

func (b *Bench) log(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.Log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// key returns a new key.
func (b *Bench) key() string { return fmt.Sprintf("compare-%d", b.keys.Add(1)) }

// peersOf returns the peers of a scenario. Each round begins with another peer.
func (b *Bench) peersOf(scenario string, round int) []peer.Peer {
	var peers []peer.Peer
	for _, p := range b.Peers {
		if p.TakesPart(scenario) {
			peers = append(peers, p)
		}
	}
	if n := len(peers); n > 0 {
		k := round * (1 + n/3) % n
		peers = append(peers[k:n:n], peers[:k]...)
	}
	return peers
}

// failed counts a trial that failed, and logs why.
func (b *Bench) failed(id report.ID, err error) {
	b.log("%s, %s: %s: %v", id.Scenario, id.Case, id.Peer, err)
	b.Results.AddNever(id, false)
}

// A process is a client with a network of its own.
type process struct {
	client  peer.Client
	network *peer.Network
}

func (b *Bench) open(p peer.Peer, lease time.Duration) (*process, error) {
	n := new(peer.Network)
	c, err := p.Open(peer.Options{Lease: lease, Redis: b.Redis.Addr, Etcd: b.Etcd.Addr, Network: n})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return &process{client: c, network: n}, nil
}

// patience is how long the acquisition of a free lock may take.
const patience = 10 * time.Second

// acquireFree acquires a lock that nobody holds.
func (q *process) acquireFree(ctx context.Context, key string) (*peer.Hold, error) {
	ctx, end := context.WithTimeout(ctx, patience)
	defer end()
	h, err := q.client.Acquire(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("acquire a free lock: %w", err)
	}
	return h, nil
}

// closeAll closes clients, all at once.
func closeAll(processes []*process) {
	var wg sync.WaitGroup
	for _, p := range processes {
		if p != nil {
			wg.Go(p.client.Close)
		}
	}
	wg.Wait()
}

// pause sleeps for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// anyPhase waits so long that what follows meets the renewals at a random phase.
func anyPhase(ctx context.Context, lease time.Duration) { pause(ctx, lease/2+rand.N(lease)) }

// ms returns d in ms, to the µs.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
