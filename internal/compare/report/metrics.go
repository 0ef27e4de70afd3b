package report

import (
	"fmt"
	"time"
)

// The names of the scenarios.
const (
	HandOver = "hand-over"
	Crash    = "crash"
	Many     = "many"
	Loss     = "loss"
	Stopped  = "stopped"
)

// The metrics.
const (
	Time       = "time, ms"
	Margin     = "margin, ms"
	AcquireAll = "to acquire all, s"
	ClientCPU  = "process CPU, %"
	ServerCPU  = "server CPU, %"
	Goroutines = "goroutines for each lock"
	Heap       = "heap for each lock, KiB"
	Lost       = "locks lost"
)

// The faults of the scenario loss.
const (
	ServerStopped  = "the server is stopped"
	ConnectionsCut = "the holder's connections are cut"
	PacketsVanish  = "the holder's packets vanish"
	KeyDeleted     = "the key is deleted"
	KeyTaken       = "the key is deleted and another acquires it"
)

// Faults returns the faults in the order of the tables.
func Faults() []string {
	return []string{ServerStopped, ConnectionsCut, PacketsVanish, KeyDeleted, KeyTaken}
}

// Count returns a number of things, such as 1 waiter or 10,000 locks.
func Count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thousands(n) + " " + thing
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// Lease returns the name of a case with a lease.
func Lease(d time.Duration) string { return fmt.Sprintf("lease of %v", d) }

// TimeoutOf returns the name of a case with a timeout.
func TimeoutOf(d time.Duration) string {
	return fmt.Sprintf("a context of %d ms", d.Milliseconds())
}
