package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// etcdElection is package concurrency of etcd: one session for each process, and one
// Election of it for each lock.
func etcdElection() Peer {
	return Peer{
		Name:    "etcd",
		Version: "go.etcd.io/etcd/client/v3",
		Waits:   "a watch on the candidate before it",
		Tells:   toldByPeer + ", when its session ends",
		// Campaign watches from the present revision. The server serves such watchers every
		// 100 ms.
		Etcd: true,
		Park: 150 * time.Millisecond,
		Open: func(o Options) (Client, error) { return openEtcd(o) },
	}
}

type etcdClient struct {
	client  *clientv3.Client
	session *concurrency.Session
	ttl     time.Duration // as granted by the server

	renewed atomic.Int64 // when the last keep-alive was answered, in ns
	listen  context.CancelFunc
	done    chan struct{}
}

func dialEtcd(o Options) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: []string{o.Etcd},
		Logger:    zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return o.Network.Dial(ctx, "tcp", addr)
		})},
	})
}

func openEtcd(o Options) (*etcdClient, error) {
	client, err := dialEtcd(o)
	if err != nil {
		return nil, err
	}
	c := &etcdClient{client: client, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	c.listen = cancel
	grant, err := client.Grant(ctx, int64(o.Lease/time.Second))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	c.ttl = time.Duration(grant.TTL) * time.Second
	c.renewed.Store(time.Now().UnixNano())
	// A second listener beside the session's, which learns of each renewal.
	answers, err := client.KeepAlive(ctx, grant.ID)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	go func() { // joined by Close
		defer close(c.done)
		for a := range answers {
			if a.TTL > 0 {
				c.renewed.Store(time.Now().UnixNano())
			}
		}
	}()
	c.session, err = concurrency.NewSession(client, concurrency.WithLease(grant.ID), concurrency.WithTTL(int(grant.TTL)))
	if err != nil {
		c.listen()
		<-c.done
		return nil, errors.Join(err, client.Close())
	}
	return c, nil
}

func (c *etcdClient) Acquire(ctx context.Context, key string) (*Hold, error) {
	e := concurrency.NewElection(c.session, key)
	if err := e.Campaign(ctx, "candidate"); err != nil {
		return nil, err
	}
	var deleted atomic.Bool
	return &Hold{
		Lost: c.session.Done(),
		Release: sync.OnceValue(func() error {
			ctx, end := context.WithTimeout(context.Background(), time.Second)
			defer end()
			return e.Resign(ctx)
		}),
		// The expiry is at most as late as this, because the server renewed the lease before
		// it answered.
		Expiry: func() (time.Time, error) {
			if deleted.Load() {
				return time.Time{}, nil
			}
			return time.Unix(0, c.renewed.Load()).Add(c.ttl), nil
		},
		Delete: func() error {
			deleted.Store(true)
			_, err := c.client.Delete(context.Background(), e.Key())
			return err
		},
	}, nil
}

// Close ends the session. Its lease is revoked, and the keys with it, if etcd can be
// reached.
func (c *etcdClient) Close() {
	c.listen()
	<-c.done
	c.session.Orphan()
	ctx, end := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer end()
	c.client.Revoke(ctx, c.session.Lease())
	c.client.Close()
}
