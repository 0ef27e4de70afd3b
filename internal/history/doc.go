// Package history checks the lock as a distributed object. Its tests record who
// acquired, renewed, released and lost it, as the clients saw that and as the
// server did, and ask whether one order of events, with times, explains it all.
//
// It holds nothing but tests, in a module of its own: so that the checker,
// porcupine, is no dependency of those who import the lock.
package history
