// Package setlocktest runs an embedded Redis for tests of programs that use setlock or
// election. A test can stop the Redis, make it lose its data, let a lock expire, or cut one
// candidate off. In a bubble of [testing/synctest], a test of a failover takes no real time.
//
// This test has two candidates of a scheduler, which runs a job every minute. It cuts the
// leader off, and checks that the other candidate takes over:
//
//	func TestFailover(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			srv := setlocktest.NewServer(t)
//			var byA, byB atomic.Int64 // jobs
//			a := newScheduler(srv.Pool(), func() { byA.Add(1) })
//			b := newScheduler(srv.Pool(), func() { byB.Add(1) })
//			go a.Run(t.Context())
//			synctest.Wait() // until a leads
//			go b.Run(t.Context())
//
//			time.Sleep(5*time.Minute + time.Second) // in virtual time: it takes no real time
//			if byA.Load() != 5 || byB.Load() != 0 {
//				t.Errorf("%d jobs by a, %d by b, want 5 by a", byA.Load(), byB.Load())
//			}
//
//			srv.CutOff(a.Lock.Pool)
//			time.Sleep(setlock.DefaultLease + time.Second)
//			if a.IsLeader() || !b.IsLeader() {
//				t.Error("b does not lead after a has been cut off for a lease")
//			}
//
//			srv.Reconnect(a.Lock.Pool)
//			time.Sleep(5 * time.Minute)
//			if byA.Load() != 5 || byB.Load() != 5 {
//				t.Errorf("%d jobs by a, %d by b, want 5 more by b", byA.Load(), byB.Load())
//			}
//		})
//	}
//
// The function newScheduler stands for the code under test. It returns an Election of package
// election, whose Lock uses the pool that newScheduler is given. The file failover_test.go of
// this package has it.
//
// A [Server] also works outside a bubble, where its keys expire in real time. At the end of the
// test, the Server stops and its pools are closed. The Server then leaves no goroutine behind.
//
// # What hangs in a bubble
//
// The time of a bubble moves on only while every goroutine of the bubble waits for something
// inside the bubble, as for a timer or a channel. A [Server] and its pools wait in this way
// only. Other code may not, and then time stands still, and the test hangs:
//
//   - A network connection. A goroutine that waits for the network waits for something outside
//     the bubble. So do not use a real Redis in a bubble, nor miniredis.RunT or
//     httptest.NewServer, which accept connections from the network.
//   - A mutex that is held while its holder waits. A goroutine that waits for the mutex does
//     not count as waiting. Suppose one goroutine holds the mutex and calls a Redis that is
//     cut off, and a second goroutine wants the mutex. Time stands still, so the time-out of
//     the call never comes. Do not hold a mutex during a call, or use a channel in its place.
//
// A test also hangs when it waits for what never comes while an election runs. Time then moves
// on for ever, because the candidates always have a timer. So wait with a time-out, or sleep
// for as long as it takes and look.
//
// # What must end before the bubble ends
//
// A bubble ends when all its goroutines have ended. Time stands still when the function of the
// bubble and its cleanups have returned. The bubble panics, with the word deadlock, if a
// goroutine then waits for a timer or for ever:
//
//   - Run, Do and Watch end with their context. Give them t.Context(), or a context derived
//     from it, because this context ends when the function of the bubble returns. A Run with
//     [context.Background] does not end.
//   - If OnElected needs time to stop, the test must wait until Run has returned, in the function
//     of the bubble or in a function for t.Cleanup. Time still moves on there. The same holds
//     for the function of a Do.
//   - A goroutine that idles for ever must be told to end, as by Close or Stop of its owner.
//
// # The race detector
//
// The race detector of Go 1.26 can crash in a bubble, with "ThreadSanitizer: CHECK failed" or a
// segmentation fault, when two timers of the bubble run at the same time
// (https://go.dev/issue/78156). It does not crash on one processor, as with go test -race -cpu 1.
//
// # Where a Server belongs
//
// A Server and its pools belong to the bubble in which NewServer was called. So call NewServer
// inside the bubble, with the T of the bubble.
package setlocktest
