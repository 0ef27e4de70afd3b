// Package metrics is a recipe: the figures of an election for Prometheus. The file alerts.yml beside it
// has the alerts.
package metrics

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// A Collector collects the figures of one election. Register one for each Key.
type Collector struct{ Election *election.Election }

// Describe describes no metric, so that several Collectors can be registered.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector]. It sends nothing to Redis.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	s, lease := c.Election.Stats(), cmp.Or(c.Election.Lock.Lease, setlock.DefaultLease)
	send := func(kind prometheus.ValueType, value float64, name, help, how string) {
		labels := prometheus.Labels{"key": c.Election.Lock.Key}
		if how != "" {
			labels["how"] = how
		}
		metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc("setlock_"+name, help, nil, labels), kind, value)
	}
	gauge := func(value float64, name, help string) { send(prometheus.GaugeValue, value, name, help, "") }
	count := func(value int64, name, help string) { send(prometheus.CounterValue, float64(value), name, help, "") }
	ended := func(value int64, how string) {
		send(prometheus.CounterValue, float64(value), "terms_ended_total", "Terms that have ended, by how.", how)
	}

	gauge(number(s.Leading), "leading", "1 while this process leads.")
	// A process whose Run has returned knows the leader of the past. Others see a leader
	// once per lease.
	known := s.Leading || s.Leader != "" && time.Since(s.Seen) < 2*lease
	gauge(number(known), "leader_known", "1 while this process knows of a leader.")
	gauge(float64(s.Fence), "fence", "The fencing token of the leader as last seen, or 0.")
	gauge(lease.Seconds(), "lease_seconds", "The lease.")
	gauge(s.Trust.Seconds(), "trust_seconds", "How long this process leads if no renewal succeeds.")
	gauge(s.Overdue.Seconds(), "overdue_seconds", "How long OnElected has run since its context ended.")
	gauge(s.RoundTrip.Seconds(), "round_trip_seconds", "The round trip of the last renewal that succeeded.")
	if !s.Accepted.IsZero() {
		gauge(float64(s.Accepted.UnixMilli())/1000, "accepted_timestamp_seconds", "When Redis last answered without an error.")
	}
	count(s.Terms, "terms_total", "Terms that this process has won.")
	ended(s.Returned, "returned")
	ended(s.Failed, "failed")
	ended(s.Resigned, "resigned")
	ended(s.Lost, "lost")
	ended(s.ShutDown, "shut_down")
	count(s.Attempts, "attempts_total", "Attempts to be elected that have ended.")
	count(s.FailedAttempts, "failed_attempts_total", "Attempts to be elected that have failed.")
	count(s.Renewals, "renewals_total", "Attempts to renew the lock that have ended.")
	count(s.FailedRenewals, "failed_renewals_total", "Attempts to renew the lock that have failed.")
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
