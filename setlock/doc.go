// Package setlock implements a lock on Redis, and runs a function while the lock is held.
//
//	l := &setlock.Lock{Key: "nightly-report", Pool: pool}
//	err := l.Do(ctx, func(ctx context.Context) error {
//		return report(ctx) // ctx ends before another process can hold the lock
//	})
//
// A [Lock] acquires, extends, renews and releases its key with scripts. To acquire a free
// key, the script runs SET NX PX. The other scripts compare the value before they write
// (https://redis.io/docs/latest/commands/set/#patterns). Package election builds leader
// election on this lock.
//
// # Trust
//
// Redis cannot tell a holder anything while the network is down. So a holder measures by
// its own clocks how long it may trust its lock. [Lock.Do] trusts the lock for 0.9 Lease,
// counted from before the request of the last acquisition or renewal that was answered.
// Trust has ended as soon as this time has passed by the monotonic or by the wall clock. Do
// then ends the context of its function, whatever the network and the Pool are doing. The key lives
// for a Lease from the moment when Redis ran that request. So a tenth of the Lease lies
// between the end of trust and the expiry of the key. The work needs this time to stop, and
// clocks do not run alike.
//
// Do renews the lock at least every third of the Lease. A renewal that fails is tried again soon,
// even when the Pool is exhausted. So an outage of less than a third of the Lease costs
// nothing: Redis may be unreachable, slow, silent, read-only or loading.
//
// # Fencing tokens
//
// A process can be stopped between its last check of its context and its next write. When
// the process wakes up, another process may hold the lock. A resource that must not be
// overwritten then has to refuse that write. Every hold has a fencing token, which is
// greater than the tokens of the holds before it. A resource that remembers the greatest
// token it has seen refuses every smaller token. See [FenceFromContext], and its example
// for a script that refuses such a write.
//
// Tokens increase after a lost key, FLUSHALL, a restart without persistence and a failover,
// unless a server's clock is set back by more than the outage lasted. Even then they
// increase while the fence key exists. The fence key expires when nobody has held the lock
// for one to two hours. If a clock is then set back by more than the time in which nobody
// held the lock, tokens decrease.
//
// # Many locks
//
// All Dos on one Pool share one goroutine that renews their locks. Renewals that are due at
// about the same time go out together, on one connection. A Do starts no goroutine. The
// Pool needs no more connections for ten thousand Dos than for ten. While connections hang,
// renewals use up to 16 connections, some of them outside the limits of the Pool.
//
// # What is not promised
//
// Two processes may work under the lock at the same time when Redis forgets who holds it:
//
//   - Redis lost its data.
//   - A replica that had not heard of the lock was promoted (see [Lock.Replicas]).
//   - The clock of Redis was set forward by more than a tenth of the Lease, or the clock of
//     the new primary is ahead by more than that.
//   - The key was deleted by another program or by hand.
//
// The old holder learns of the loss at its next renewal, at most a third of its Lease later
// if Redis can be reached. It learns at once when the next acquisition is announced to it.
// Until then only fencing tokens tell the two holders apart. The same holds for a virtual
// machine that was paused together with all its clocks, because nothing in the machine can
// tell how long the pause was.
//
// # Redis
//
// Redis must be version 5 or later, because the scripts call TIME before they write, and
// this needs effect replication. The Redis user needs these rights:
//
//   - On the lock key and the fence key, the commands EVALSHA, EVAL, GET, SET, DEL, PTTL,
//     PEXPIRE, TIME, PUBLISH, and, for Replicas, WAIT.
//   - On the channel "setlock:" + Key, the commands SUBSCRIBE, UNSUBSCRIBE and PING.
//
// A connection that cannot be interrupted (see Lock.Pool) and must not be used again is
// sent MONITOR, so that its Pool closes it. Redis may refuse MONITOR.
//
// Without the right to SUBSCRIBE everything works, but more slowly, because changes are
// found by polling. Without the right to PUBLISH, subscribers see changes within a Lease.
//
// On Redis Cluster, do not use a Key that has a brace but no hash tag. The fence key of
// such a Key may be in another slot. A Pool connects to one node, so the Keys of all Locks on
// one Pool must have the same hash tag.
package setlock
