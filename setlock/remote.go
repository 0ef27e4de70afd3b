package setlock

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/wire"
)

// A remote is a lock as Redis has it, with one method for each script. A method returns
// what Redis answered. What the answer means for a Lock is decided by the caller.
type remote struct {
	pool     *redis.Pool
	keys     *protocol.Keys
	lease    lease
	replicas int
}

// acquire acquires the lock for h, for d. mine is the value that the Lock holds already, or
// "". The lock is also free where one of orphans holds it. The call carries the command
// that undoes the acquisition. Package wire sends the undo, because only package wire knows
// whether the acquisition may have run, and on which connection.
func (r *remote) acquire(ctx context.Context, h *hold, d time.Duration, mine string, orphans []string, settled func(wire.Fate)) (protocol.Acquisition, wire.Result) {
	result := r.acquisition(h, d, mine, orphans, settled).Do(ctx)
	var a protocol.Acquisition
	if result.Err == nil {
		a, result.Err = protocol.ParseAcquire(result.Reply)
	}
	return a, result
}

// acquisition returns the call of acquire.
func (r *remote) acquisition(h *hold, d time.Duration, mine string, orphans []string, settled func(wire.Fate)) *wire.Call {
	confirmed := r.replicas == 0 // then the script announces the acquisition
	call := &wire.Call{
		Pool:     r.pool,
		Command:  r.keys.Acquire(h.value, d, confirmed, mine, orphans),
		Replicas: r.replicas,
		Wait:     min(r.lease.confirmTimeout(), d),
		Undo:     r.keys.Release(confirmed, h.value),
		Settled:  settled,
	}
	if !confirmed {
		call.Confirmed = r.announcement(h.value, d)
	}
	return call
}

// announcement returns the function that returns, for an acquisition which the replicas have
// confirmed, the command that announces it, and the command that undoes it from then on.
func (r *remote) announcement(value string, d time.Duration) func(reply any) (then, undo protocol.Command) {
	return func(reply any) (then, undo protocol.Command) {
		a, _ := protocol.ParseAcquire(reply) // it was read before
		return r.keys.Announce(a.Announcement(value, d)), r.keys.Release(true, value)
	}
}

// renew sets the remaining time of h to d. It reports whether the lock is still h's.
func (r *remote) renew(ctx context.Context, h *hold, d time.Duration) (mine bool, result wire.Result) {
	command, both := r.renewal(h, h.clock.Now(), d)
	result = r.set(ctx, command)
	if result.Err == nil {
		mine, result.Err = protocol.ParseRenew(result.Reply)
	}
	if both && mine {
		h.fenceKey.set(clock.Elapsed(h.acquired, result.Sent), d)
	}
	return mine, result
}

// renewal returns the command that sets the remaining time of h to d at now, and whether the
// command sets the remaining time of the fence key, too.
func (r *remote) renewal(h *hold, now time.Time, d time.Duration) (command protocol.Command, both bool) {
	if h.fenceKey.due(clock.Elapsed(h.acquired, now), d) {
		return r.keys.RenewBoth(h.value, h.fence, d), true
	}
	return r.keys.Renew(h.value, d), false
}

// extend adds d to the remaining time of h. A key without expiry gets the longer of d and
// least. extend returns the new remaining time, and reports whether the lock is still h's.
func (r *remote) extend(ctx context.Context, h *hold, d, least time.Duration) (remaining time.Duration, mine bool, result wire.Result) {
	result = r.set(ctx, r.keys.Extend(h.value, h.fence, d, least))
	if result.Err == nil {
		remaining, mine, result.Err = protocol.ParseExtend(result.Reply)
	}
	if mine {
		h.fenceKey.set(clock.Elapsed(h.acquired, result.Sent), remaining)
	}
	return remaining, mine, result
}

// set sends a command that sets the remaining time, and has the replicas confirm it.
func (r *remote) set(ctx context.Context, command protocol.Command) wire.Result {
	return (&wire.Call{Pool: r.pool, Command: command, Replicas: r.replicas, Wait: r.lease.confirmTimeout()}).Do(ctx)
}

// release releases the lock where one of values holds it, on a connection of pool. It
// reports whether one of values held it.
func (r *remote) release(ctx context.Context, pool *redis.Pool, values ...string) (released bool, result wire.Result) {
	result = (&wire.Call{Pool: pool, Command: r.keys.Release(true, values...)}).Do(ctx)
	if result.Err == nil {
		released, result.Err = protocol.ParseRelease(result.Reply)
	}
	return released, result
}

// look returns who holds the lock.
func (r *remote) look(ctx context.Context) (protocol.Observation, error) {
	result := (&wire.Call{Pool: r.pool, Command: r.keys.Look()}).Do(ctx)
	if result.Err != nil {
		return protocol.Observation{}, result.Err
	}
	return protocol.ParseLook(result.Reply)
}
