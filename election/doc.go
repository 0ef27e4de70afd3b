// Package election elects a leader among processes that share a Redis.
//
// Every process that could do the work runs an [Election] with the same Key. One
// of them is elected: its OnElected runs, with a context that ends before
// its lease can expire and anyone else can be elected. The others follow: they wait
// until the lock of the leader is released, which they are told, or expires,
// which they notice within milliseconds. Then they campaign, and one of them wins.
//
// # A term
//
// A term begins when [setlock.Lock.Do] has acquired the lock. Its end has an
// order, which is what makes it safe:
//
//  1. The context of OnElected ends: the lock was lost, the context of Run has
//     ended, or Resign was called; or OnElected has returned by itself.
//  2. On a loss, Changes says so at once, also if the context had ended before.
//  3. OnElected returns. Until it does, the lock is renewed, unless it was lost.
//  4. Changes says so, if it has not.
//  5. The lock is released.
//
// Only then can another be elected, except after a loss: the lock may be another's a
// tenth of the Lease after that, whether OnElected has returned or not.
// Work that ignores its context is why [Election.Check] exists, and why work
// that must never be done twice checks a fencing token, see
// [setlock.FenceFromContext].
//
// # What is not promised
//
// That there is a leader while a Redis Cluster moves the slot of the Key: nobody can be elected
// then, because Redis answers ASK or TRYAGAIN, and the renewals of a leader fail once its keys have
// moved. When the slot has moved, a leader is elected again.
//
// That the effects of two leaders never overlap: a process can be stopped between
// its last look at its context and its next write, and a Redis that loses its
// data, or whose clock is set forward, elects anew while the old leader, for up to a third
// of its Lease, does not know. What such a leader carries is a stale fencing token, and only what
// checks it is protected.
package election
