// Package setlock is a lock on Redis, and a function that runs while the lock
// is held.
//
//	l := &setlock.Lock{Key: "nightly-report", Pool: pool}
//	err := l.Do(ctx, func(ctx context.Context) error {
//		return report(ctx) // ctx ends before another can hold the lock
//	})
//
// A [Lock] is SET NX PX to acquire, and a script that compares before it writes to
// extend, to renew and to release (https://redis.io/docs/latest/commands/set/#patterns).
// Package election, on top of it, elects a leader.
//
// # Trust
//
// Whoever holds a lock may believe so for a while that it counts itself, for
// Redis cannot tell it anything when the network is down. [Lock.Do] counts from
// before the request of the last acquisition or renewal that was answered, for 0.9
// Lease, by the stricter of the monotonic and the wall clock, and ends the context of
// its function then, whatever the network and the Pool are doing. The key lives for
// a Lease from when Redis ran that request. So a tenth of the Lease lies between the
// two: for the work to stop, and for clocks that do not run alike.
//
// A third of a Lease without Redis, or with one that is slow, silent, read-only or
// loading, costs nothing: renewals go out every third of the Lease and are tried
// again soon when they fail, past a Pool that is exhausted, too.
//
// # Fencing tokens
//
// A process can be stopped between its last look at its context and its next
// write. What must never be overwritten by one that woke up too late, has to refuse
// it: every hold has a fencing token, greater than those of the holds before it,
// and a resource that remembers the greatest token it has seen refuses the rest.
// See [FenceFromContext], and its example for a script that does.
//
// Tokens increase across a lost key, FLUSHALL, a restart without persistence and
// a failover, as long as the clocks of the servers do not step back further than the
// outage lasted, and across such a step as long as the fence key survives. It expires
// when nobody has held the lock for an hour: a clock that is then set back by more
// than that time makes tokens decrease.
//
// # What is not promised
//
// Two may work at a time when Redis forgets who holds the lock: it lost its data, a
// replica that had not heard of the lock was promoted (see [Lock.Replicas]), its
// clock was set forward or the clock of the new primary is ahead, by more than a tenth
// of the Lease, or somebody deleted the key. The old holder learns that at its next
// renewal, at most a third of its Lease later if Redis can be reached, and at once when
// the next acquisition is announced to it. Until then only fencing tokens tell the two
// apart. The same holds for a virtual machine that was paused together with all its
// clocks: nothing in it can tell how long that was.
//
// # Redis
//
// Redis 5 or later: the scripts call TIME before they write, which needs effect
// replication. A user needs the commands EVALSHA, EVAL, GET, SET, DEL, PTTL, PEXPIRE,
// TIME, PUBLISH, and for Replicas WAIT, on the lock key and the fence key; and SUBSCRIBE,
// UNSUBSCRIBE and PING on the channel "setlock:" + Key. Without the right to SUBSCRIBE
// everything works, more slowly: changes are polled for. Without the right to PUBLISH,
// those who subscribe see them within a Lease.
//
// On Redis Cluster, a Key with a brace but without a hash tag must not be used: its
// fence key may be in another slot.
package setlock
