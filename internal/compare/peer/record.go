//go:build !noclientgo

package peer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// record is a resourcelock.Interface on a key of etcd. As on an API server, an update
// counts only if the record has not changed since it was read.
type record struct {
	client        *clientv3.Client
	key, identity string

	mu       sync.Mutex
	revision int64 // of the record, as last read or written
}

// stored is the form of a record in etcd. Times are in ns.
type stored struct {
	Holder            string
	Seconds           int
	Acquired, Renewed int64
	Transitions       int
}

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

func newRecord(client *clientv3.Client, key string) *record {
	return &record{client: client, key: key, identity: rand.Text()}
}

func (r *record) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	reply, err := r.client.Get(ctx, r.key)
	if err != nil {
		return nil, nil, err
	}
	if len(reply.Kvs) == 0 {
		return nil, nil, errors.NewNotFound(leases, r.key)
	}
	var s stored
	kv := reply.Kvs[0]
	if err := json.Unmarshal(kv.Value, &s); err != nil {
		return nil, nil, err
	}
	r.saw(kv.ModRevision)
	return &resourcelock.LeaderElectionRecord{
		HolderIdentity:       s.Holder,
		LeaseDurationSeconds: s.Seconds,
		AcquireTime:          metav1.NewTime(time.Unix(0, s.Acquired)),
		RenewTime:            metav1.NewTime(time.Unix(0, s.Renewed)),
		LeaderTransitions:    s.Transitions,
	}, kv.Value, nil
}

func (r *record) Create(ctx context.Context, l resourcelock.LeaderElectionRecord) error {
	return r.put(ctx, l, clientv3.Compare(clientv3.CreateRevision(r.key), "=", 0))
}

func (r *record) Update(ctx context.Context, l resourcelock.LeaderElectionRecord) error {
	r.mu.Lock()
	revision := r.revision
	r.mu.Unlock()
	return r.put(ctx, l, clientv3.Compare(clientv3.ModRevision(r.key), "=", revision))
}

// put writes l if condition holds.
func (r *record) put(ctx context.Context, l resourcelock.LeaderElectionRecord, condition clientv3.Cmp) error {
	value, err := json.Marshal(stored{
		Holder:      l.HolderIdentity,
		Seconds:     l.LeaseDurationSeconds,
		Acquired:    l.AcquireTime.UnixNano(),
		Renewed:     l.RenewTime.UnixNano(),
		Transitions: l.LeaderTransitions,
	})
	if err != nil {
		return err
	}
	reply, err := r.client.Txn(ctx).If(condition).Then(clientv3.OpPut(r.key, string(value))).Commit()
	if err != nil {
		return err
	}
	if !reply.Succeeded {
		return errors.NewConflict(leases, r.key, nil)
	}
	r.saw(reply.Header.Revision)
	return nil
}

func (r *record) saw(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision = revision
}

// expiry returns when a candidate that saw the last renewal at once may take over.
func (r *record) expiry(etcd string) (time.Time, error) {
	client, err := dialEtcd(Options{Etcd: etcd, Network: new(Network)})
	if err != nil {
		return time.Time{}, err
	}
	defer client.Close()
	ctx, end := context.WithTimeout(context.Background(), 5*time.Second)
	defer end()
	reply, err := client.Get(ctx, r.key)
	if err != nil || len(reply.Kvs) == 0 {
		return time.Time{}, err
	}
	var s stored
	if err := json.Unmarshal(reply.Kvs[0].Value, &s); err != nil || s.Holder != r.identity {
		return time.Time{}, err
	}
	return time.Unix(0, s.Renewed).Add(time.Duration(s.Seconds) * time.Second), nil
}

func (r *record) Identity() string   { return r.identity }
func (r *record) Describe() string   { return r.key }
func (r *record) RecordEvent(string) {}
