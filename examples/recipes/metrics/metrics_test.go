package metrics_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/setlock/election"
	"example.com/setlock/examples/recipes/internal/recipetest"
	"example.com/setlock/examples/recipes/metrics"
	"example.com/setlock/internal/leaktest"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const lease = 3 * time.Second

// A process is a candidate that serves its metrics.
type process struct {
	*election.Election
	target string
	stop   func() // ends Run, and waits for its end
}

func start(t *testing.T, srv *setlocktest.Server, onElected func(context.Context) error) *process {
	t.Helper()
	p := &process{Election: &election.Election{
		Lock:      &setlock.Lock{Key: "job", Pool: srv.Pool(), Lease: lease},
		OnElected: onElected,
	}}
	registry := client.NewPedanticRegistry()
	registry.MustRegister(&metrics.Collector{Election: p.Election})
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	p.target = server.Listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // joined by stop
		defer close(ended)
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	p.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(p.stop)
	return p
}

// A real Prometheus scrapes two processes. Each alert fires when its trouble comes, and not before.
func TestAlertsFire(t *testing.T) {
	recipetest.Program(t, "prometheus", "prometheus")
	one, two := setlocktest.NewServer(t), setlocktest.NewServer(t)
	var working, stubborn atomic.Bool // OnElected of a runs; it ignores the end of its context
	a := start(t, one, func(ctx context.Context) error {
		working.Store(true)
		defer working.Store(false)
		<-ctx.Done()
		for stubborn.Load() {
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
	t.Cleanup(func() { stubborn.Store(false) }) // before a stops
	recipetest.Eventually(t, "a leads", a.IsLeader)
	b := start(t, one, nil)
	two.Stop()
	c := start(t, two, nil) // cannot be elected yet
	p := startPrometheus(t, (2 * lease).String(), a.target, b.target, c.target)
	recipetest.Eventually(t, "all are scraped", func() bool {
		return slices.Equal(p.query(t, "count(setlock_leader_known)"), []string{"3"})
	})
	recipetest.Eventually(t, "the rules are evaluated, and all is well", func() bool {
		return len(p.query(t, "prometheus_rule_group_iterations_total > 5")) == 1 && len(p.query(t, `ALERTS{alertstate="firing"}`)) == 0
	})

	// Two processes lead, because they use different servers.
	two.Start()
	recipetest.Eventually(t, "TwoLeaders", func() bool { return p.fires(t, "TwoLeaders") })
	two.Stop()
	recipetest.Eventually(t, "the end of TwoLeaders", func() bool { return !p.fires(t, "TwoLeaders") })

	b.stop() // so that nobody leads when a is cut off
	// When the leader is cut off, its trust becomes low for a third of its lease. On a machine that
	// is very busy, Prometheus may miss this time, or a may have lost its leadership before. So there
	// are several tries.
	for tries := 1; ; tries++ {
		recipetest.Eventually(t, "a leads", a.IsLeader)
		stubborn.Store(true)
		one.CutOff(a.Lock.Pool)
		recipetest.Eventually(t, "the end of the leadership", func() bool { return !a.IsLeader() })
		overdue := false
		recipetest.Eventually(t, "Overdue", func() bool {
			overdue = p.fires(t, "Overdue")
			return overdue || !working.Load()
		})
		if overdue && p.fired(t, "TrustLow", 60) {
			break
		}
		if tries == 10 {
			t.Fatal("TrustLow or Overdue did not fire")
		}
		stubborn.Store(false)
		one.Reconnect(a.Lock.Pool)
	}
	recipetest.Eventually(t, "NoLeader", func() bool { return p.fires(t, "NoLeader") })
	stubborn.Store(false)
	recipetest.Eventually(t, "the end of Overdue", func() bool { return !p.fires(t, "Overdue") })
	one.Reconnect(a.Lock.Pool)
	recipetest.Eventually(t, "the end of NoLeader", func() bool { return !p.fires(t, "NoLeader") })
}

// The metrics have the figures of Stats, and pass the checks of Prometheus for names and help.
func TestCollector(t *testing.T) {
	srv := setlocktest.NewServer(t)
	a := start(t, srv, nil)
	recipetest.Eventually(t, "a leads", a.IsLeader)
	collector := &metrics.Collector{Election: a.Election}
	if problems, err := testutil.CollectAndLint(collector); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	a.stop()
	want := `
# HELP setlock_leading 1 while this process leads.
# TYPE setlock_leading gauge
setlock_leading{key="job"} 0
# HELP setlock_lease_seconds The lease.
# TYPE setlock_lease_seconds gauge
setlock_lease_seconds{key="job"} 3
# HELP setlock_terms_ended_total Terms that have ended, by how.
# TYPE setlock_terms_ended_total counter
setlock_terms_ended_total{how="failed",key="job"} 0
setlock_terms_ended_total{how="lost",key="job"} 0
setlock_terms_ended_total{how="resigned",key="job"} 0
setlock_terms_ended_total{how="returned",key="job"} 0
setlock_terms_ended_total{how="shut_down",key="job"} 1
# HELP setlock_terms_total Terms that this process has won.
# TYPE setlock_terms_total counter
setlock_terms_total{key="job"} 1
`
	if err := testutil.CollectAndCompare(collector, strings.NewReader(want), "setlock_leading", "setlock_lease_seconds",
		"setlock_terms_total", "setlock_terms_ended_total"); err != nil {
		t.Error(err)
	}
}

// A process whose Run has returned does not hide that nobody leads.
func TestLeaderKnownAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		a := &election.Election{Lock: &setlock.Lock{Key: "job", Pool: srv.Pool()}}
		b := &election.Election{Lock: &setlock.Lock{Key: "job", Pool: srv.Pool()}}
		known := func(e *election.Election) float64 {
			families := client.NewRegistry()
			families.MustRegister(&metrics.Collector{Election: e})
			all, err := families.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				if f.GetName() == "setlock_leader_known" {
					return f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			t.Fatal("no setlock_leader_known")
			return 0
		}
		ctx, cancel := context.WithCancel(t.Context())
		go a.Run(t.Context()) // until the end of the bubble, and b until cancel
		synctest.Wait()
		go b.Run(ctx)
		for range 100 {
			time.Sleep(setlock.DefaultLease / 7)
			if known(a) != 1 || known(b) != 1 {
				t.Fatalf("the leader a knows of a leader: %v; its follower does: %v", known(a), known(b))
			}
		}
		cancel()
		time.Sleep(2 * setlock.DefaultLease)
		if known(a) != 1 || known(b) != 0 {
			t.Errorf("the leader a knows of a leader: %v; b, whose Run has returned, does: %v", known(a), known(b))
		}
	})
}
