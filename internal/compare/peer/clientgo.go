//go:build !noclientgo

package peer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"

	"example.com/setlock/internal/compare/report"
)

// clientGo is package leaderelection of client-go, with its record in etcd. There is no
// API server between the two, so the times are those that the algorithm decides, and
// the costs are lower than in a cluster. RenewDeadline and RetryPeriod are the same
// parts of the lease as in the defaults of Kubernetes.
func clientGo() []Peer {
	p := Peer{
		Name:    "client-go",
		Version: "k8s.io/client-go",
		Waits:   "reads the record after 1 to 2.2 times RetryPeriod, and waits for the lease since the last change it saw",
		Tells:   toldByPeer,
		Poll:    1500 * time.Millisecond,
		Etcd:    true,
		Most:    1000,
		In:      []string{report.Crash, report.Many, report.Loss, report.Stopped},
		Open:    func(o Options) (Client, error) { return openClientGo(o, false) },
	}
	release := p
	release.Name = "client-go-release" // ReleaseOnCancel is set
	release.In = []string{report.HandOver, report.Loss}
	release.Open = func(o Options) (Client, error) { return openClientGo(o, true) }
	return []Peer{p, release}
}

type clientGoClient struct {
	o       Options
	client  *clientv3.Client
	release bool // ReleaseOnCancel
}

func openClientGo(o Options, release bool) (Client, error) {
	client, err := dialEtcd(o)
	if err != nil {
		return nil, err
	}
	return &clientGoClient{o: o, client: client, release: release}, nil
}

func (c *clientGoClient) Acquire(ctx context.Context, key string) (*Hold, error) {
	r := newRecord(c.client, key)
	run, stop := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), logr.Discard()))
	started := make(chan (<-chan struct{}), 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            r,
		LeaseDuration:   c.o.Lease,
		RenewDeadline:   c.o.Lease * 10 / 15,
		RetryPeriod:     c.o.Lease * 2 / 15,
		ReleaseOnCancel: c.release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) { started <- held.Done() },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		stop()
		return nil, err
	}
	done := make(chan struct{})
	go func() { // joined by Release, or below
		defer close(done)
		elector.Run(run)
	}()
	end := sync.OnceValue(func() error {
		stop()
		<-done
		return nil
	})
	select {
	case lost := <-started:
		return &Hold{
			Lost:    lost,
			Release: end,
			Expiry:  func() (time.Time, error) { return r.expiry(c.o.Etcd) },
			Delete: func() error {
				_, err := c.client.Delete(context.Background(), key)
				return err
			},
		}, nil
	case <-ctx.Done():
		end()
		return nil, context.Cause(ctx)
	case <-done:
		stop()
		return nil, errors.New("the elector returned")
	}
}

func (c *clientGoClient) Close() { c.client.Close() }
