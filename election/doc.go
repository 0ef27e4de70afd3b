// Package election elects a leader among processes that share a Redis.
//
// Every process that could do the work is a candidate: it runs an [Election] with the same Key.
// One candidate is elected leader, and its OnElected runs. The context of OnElected ends before
// the lease of the leader can expire and another candidate can be elected.
//
// The other candidates are followers. They wait until the lock of the leader is released or
// expires. A release is announced to them; they notice an expiry within milliseconds. Then the
// followers campaign, and one of them wins.
//
// # A term
//
// A term begins when [setlock.Lock.Do] has acquired the lock. It ends in a fixed order, and this
// order makes it safe:
//
//  1. The context of OnElected ends: the lock was lost, the context of Run ended, or Resign was
//     called. Or OnElected returns by itself.
//  2. On a loss, Changes reports the end of the term at once, even if the context had ended before
//     the loss.
//  3. OnElected returns. Until then the lock is renewed, unless it was lost.
//  4. Changes reports the end of the term, unless step 2 did. If step 2 did and OnElected has
//     returned an error of its own, Changes reports this error.
//  5. The lock is released.
//
// Before step 5 no other candidate can be elected, unless the lock was lost. When it was lost
// because no renewal succeeded, another candidate can be elected a tenth of the Lease later. After
// any other loss, another candidate may lead already. It may lead even while OnElected still runs.
//
// So work must stop when its context ends. [Election.Check] finds work that does not stop,
// see [ErrOverdue]. Work that must never be done twice must check a fencing token, see
// [setlock.FenceFromContext].
//
// # What is not promised
//
// There may be no leader while a Redis Cluster moves the slot of the Key. Nobody can be elected
// then, because Redis answers ASK or TRYAGAIN. The renewals of a leader fail once its keys have
// moved. When the slot has moved, a leader is elected again.
//
// The effects of two leaders may overlap. A process can be stopped between its last check
// of its context and its next write. A Redis that loses its data, or whose clock is set
// forward, lets another candidate be elected while the old leader does not know. The old
// leader learns at its next renewal that Redis answers, at most a third of its Lease later.
// If Redis does not answer, its context ends when its trust ends. The fencing token of the
// old leader is stale then. Only a resource that checks fencing tokens is protected.
package election
