package election_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
)

// failoverLease is the lease in the tests of failovers, long for machines that are busy.
const failoverLease = 3 * time.Second

// refuses fails t unless the register behind conn, once it has seen the fence of the new
// leader, refuses the fence of the old one.
func refuses(t *testing.T, conn redis.Conn, old, new tenure) {
	t.Helper()
	if n, err := write(t.Context(), conn, new.fence); n == 0 || err != nil {
		t.Errorf("a write with the fence of the new leader: %d, %v", n, err)
	}
	if n, err := write(t.Context(), conn, old.fence); n != 0 || err != nil {
		t.Errorf("a write with the fence of the old leader: %d, %v, want it refused", n, err)
	}
}

// refusesAt is refuses with the register on a server.
func refusesAt(t *testing.T, s *redistest.Server, old, new tenure) {
	t.Helper()
	conn := redistest.Pool(t, s.Dial).Get()
	defer conn.Close()
	refuses(t, conn, old, new)
}

// A failover to a replica that has not heard of the leader, with Replicas 0: another candidate is
// elected at once. The old leader believes that it leads until its trust ends, because nothing renews
// it any more; or until its next renewal, if its pool finds the new primary.
func TestFailoverLosesALeader(t *testing.T) {
	t.Parallel()
	for name, finds := range map[string]bool{"that has the old primary only": false, "that finds the new primary": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := redistest.NewServer(t)
			network := redistest.NewNetwork(t, primary.Dial)
			replica := redistest.NewReplica(t, network.Listen(t))
			redistest.AwaitReplicas(t, primary.Dial, 1)
			network.Set(redistest.Silent)

			j := newJudge(t, failoverLease)
			var at atomic.Pointer[redistest.Server]
			at.Store(primary)
			dial := func(ctx context.Context) (net.Conn, error) { return at.Load().Dial(ctx) }
			j.first(j.candidate("a", redistest.Pool(t, dial), 0))

			killed := time.Now()
			primary.Kill()
			network.Reset() // the replica never hears of the leader
			redistest.Do(t, replica.Dial, "REPLICAOF", "NO", "ONE")
			start(t, j.candidate("b", redistest.Pool(t, replica.Dial), 0))
			j.awaitTerm("b")
			if finds {
				at.Store(replica) // not before b leads, or a might be elected there
			}
			a, b := j.awaitEnd("a"), j.of("b")[0]
			t.Logf("two led for %v: the new leader from %v after the failover, the old one until %v, with a lease of %v",
				j.overlap(), b.begin.Sub(killed), a.end.Sub(killed), failoverLease)
			if believed := a.end.Sub(killed); believed > failoverLease*3/2 { // half a lease for a busy machine
				t.Errorf("the old leader believed for %v after its primary was killed, want less than a lease", believed)
			}
			j.all().fences(t)
			refusesAt(t, replica, a, b)
		})
	}
}

// The network parts the old primary and the leader from everything else, where three sentinels
// promote a replica. With Replicas 1 no renewal counts from then on: the context of the leader has
// ended before another candidate is elected. With Replicas 0 two lead until the network is whole and
// the old primary a replica, and only the fence tells which of them is the later.
func TestPartition(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string]int{"Replicas 0": 0, "Replicas 1": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := redistest.NewServer(t)
			network := redistest.NewNetwork(t, primary.Dial)
			sentinels := redistest.NewSentinels(t, "mymaster", network.Listen(t), 2)
			redistest.AwaitReplicas(t, primary.Dial, 2)

			j := newJudge(t, failoverLease)
			j.first(j.candidate("a", redistest.Pool(t, primary.Dial), replicas))
			pool := sentinelPool(t, sentinels)
			follower := j.candidate("b", pool, replicas)
			start(t, follower)
			eventually(t, 20*time.Second, "a follower", func() bool { return follower.Leader().Owner == "a" })

			cut := time.Now()
			network.Set(redistest.Silent)
			var behind redis.Conn
			eventually(t, 30*time.Second, "a new primary", func() bool {
				var err error
				behind, err = pool.DialContext(t.Context())
				return err == nil
			})
			defer behind.Close()
			promoted := time.Now()
			j.awaitTerm("b")
			time.Sleep(failoverLease)
			a, b := j.of("a"), j.of("b")
			t.Logf("after the partition began: a new primary %v, a new leader %v; with a lease of %v",
				promoted.Sub(cut), b[0].begin.Sub(cut), failoverLease)
			if took := b[0].begin.Sub(promoted); took > 2*failoverLease {
				t.Errorf("a leader %v after there was a primary, want a lease at most, and as much for a busy machine", took)
			}
			if len(a) > 1 {
				t.Errorf("the old leader was elected %d times, want once", len(a))
			}
			refuses(t, behind, a[0], b[0])

			if replicas > 0 {
				if a[0].end.IsZero() {
					t.Fatal("the old leader believes, with nobody to confirm")
				}
				believed := a[0].end.Sub(cut)
				t.Logf("the old leader until %v", believed)
				if believed > failoverLease*3/2 {
					t.Errorf("the old leader believed for %v, want less than a lease", believed)
				}
				j.alone()
				j.all().fences(t)
				return
			}
			if !a[0].end.IsZero() {
				t.Errorf("the old leader believed for %v only: was there a partition?", a[0].end.Sub(cut))
			}
			network.Set(redistest.Faults{})
			healed := time.Now()
			// The sentinels do this after eight seconds.
			at, err := redis.Strings(behind.Do("CONFIG", "GET", "port"))
			if err != nil {
				t.Fatal(err)
			}
			redistest.Do(t, primary.Dial, "REPLICAOF", "127.0.0.1", at[1])
			learnt := j.awaitEnd("a").end.Sub(healed)
			t.Logf("two led for %v, until %v after the old primary was made a replica", j.overlap(), learnt)
			if learnt > 2*failoverLease {
				t.Errorf("the old leader learnt after %v, want the next renewal", learnt)
			}
			j.all().fences(t)
		})
	}
}

// Replicas prevents two leaders only if it is the number of replicas: one replica stays with the old
// primary and still confirms, while another one is promoted.
func TestReplicasOnBothSides(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string]int{"Replicas 1 of 2": 1, "Replicas 2 of 2": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := redistest.NewServer(t)
			redistest.NewReplica(t, primary.Addr)
			network := redistest.NewNetwork(t, primary.Dial)
			other := redistest.NewReplica(t, network.Listen(t))
			redistest.AwaitReplicas(t, primary.Dial, 2)

			j := newJudge(t, failoverLease)
			j.first(j.candidate("a", redistest.Pool(t, primary.Dial), replicas))

			cut := time.Now()
			network.Set(redistest.Silent)
			redistest.Do(t, other.Dial, "REPLICAOF", "NO", "ONE")
			start(t, j.candidate("b", redistest.Pool(t, other.Dial), 0))
			j.awaitTerm("b")
			time.Sleep(failoverLease)
			a, b := j.of("a")[0], j.of("b")[0]
			t.Logf("a new leader %v after the partition began", b.begin.Sub(cut))
			if replicas == 2 {
				j.alone()
			} else if j.overlap() < failoverLease/2 {
				t.Errorf("two led for %v only: was there a partition?", j.overlap())
			}
			refusesAt(t, other, a, b)
			j.all().fences(t)
		})
	}
}
