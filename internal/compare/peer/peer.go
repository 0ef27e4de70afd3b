// Package peer has one adapter for each library of the comparison. The scenarios see
// all libraries through the same few types.
package peer

import (
	"context"
	"slices"
	"time"
)

// A Peer is a library under one set of options.
type Peer struct {
	Name    string // as the project calls itself
	Version string // path of the module whose version counts
	Waits   string // how a waiter learns that the lock is free
	Tells   string // who ends the holder's work when the lock is lost
	Floor   bool   // what a library cannot go below: not a library itself
	Ours    bool   // of this project
	Etcd    bool   // served by etcd, not by Redis

	Poll time.Duration // longest pause between two tries of a waiter; 0 if the server wakes it
	Park time.Duration // time until a new waiter waits for what wakes it
	Most int           // largest number of locks in one process that is measured; 0: any
	In   []string      // names of the scenarios that the peer takes part in; nil: all

	Open func(Options) (Client, error)
}

// TakesPart reports whether the peer takes part in a scenario.
func (p Peer) TakesPart(scenario string) bool {
	return p.In == nil || slices.Contains(p.In, scenario)
}

// Options tell a client what to connect to. One client stands for one process.
type Options struct {
	Lease   time.Duration
	Redis   string // host:port
	Etcd    string // URL
	Network *Network
}

// Client acquires locks.
type Client interface {
	// Acquire blocks until it holds the lock, or until ctx ends. The end of ctx does not
	// end a hold that exists.
	Acquire(ctx context.Context, key string) (*Hold, error)
	Close()
}

// A Hold is a lock that a client holds.
type Hold struct {
	Lost    <-chan struct{}           // closed when the holder is told that it must stop
	Release func() error              // ends what renews the lock, and releases the lock
	Expiry  func() (time.Time, error) // when the server lets others have the lock; zero if the key does not exist
	Delete  func() error              // removes the key behind the holder's back
}

const (
	toldByPeer = "the library"
	toldByLoop = "the loop of this comparison, which renews every third of the lease"
)

// All returns the peers in the order of the tables.
func All() []Peer {
	peers := []Peer{
		floor(),
		rueidisLock("rueidislock", false),
		rueidisLock("rueidislock-tuned", true),
		redsyncMutex("redsync", false),
		redsyncMutex("redsync-tuned", true),
		bsmLock("bsm/redislock", false),
		bsmLock("bsm/redislock-tuned", true),
		etcdElection(),
	}
	peers = append(peers, clientGo()...)
	return append(peers, setlockDo(), setlockElection())
}
