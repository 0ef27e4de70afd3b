package scenario

import "time"

// Size is how much the scenarios do in one round.
type Size struct {
	Waiters  []int         // hand-over: how many wait
	Turns    int           // hand-over: the most for each peer and case
	HandOver time.Duration // hand-over: about how long each peer and case may take

	Crashes    int           // crash: trials at once
	CrashLease time.Duration // crash
	Together   bool          // crash: all peers at once, which is quicker and less exact

	Locks     []int         // many: how many locks one process holds
	ManyLease time.Duration // many: also how long the costs are measured

	Losses    int           // loss: trials at once, of each peer and case
	LossLease time.Duration // loss
	Limit     int           // loss: leases after which a holder that was told nothing counts as never told

	Calls    int           // stopped: calls at once
	Patience time.Duration // stopped: when a call counts as never returned
}

// The leases are whole seconds, because etcd and client-go know no others.
const (
	handOverLease = 5 * time.Second
	callTimeout   = 300 * time.Millisecond // of the call on a stopped server
)

// Full is the size of the published results.
func Full() Size {
	return Size{
		Waiters: []int{1, 10, 100}, Turns: 100, HandOver: 2 * time.Second,
		Crashes: 8, CrashLease: 2 * time.Second,
		Locks: []int{1000, 10_000}, ManyLease: 5 * time.Second,
		Losses: 4, LossLease: 3 * time.Second, Limit: 5,
		Calls: 4, Patience: 5 * time.Second,
	}
}

// Quick is enough to see that everything works. Its figures mean little.
func Quick() Size {
	return Size{
		Waiters: []int{2}, Turns: 3, HandOver: 100 * time.Millisecond,
		Crashes: 1, CrashLease: time.Second, Together: true,
		Locks: []int{10}, ManyLease: time.Second,
		Losses: 1, LossLease: time.Second, Limit: 2,
		Calls: 1, Patience: 600 * time.Millisecond,
	}
}
