package setlock_test

import (
	"context"
	"sync"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// live competes until ctx ends.
func (r *rival) live(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, r.lease/20+time.Duration(r.mood.Int64N(int64(r.lease/4)))) // lets others go first
		if r.version == "earlier" {
			r.liveEarlier(ctx)
		} else {
			r.livePresent(ctx)
		}
		r.connect()
	}
}

// A duty is how a term ends.
type duty struct {
	lasts time.Duration // how long the work takes
	dies  bool          // the process ends with it, and releases nothing
}

func (r *rival) duty() duty {
	lasts := min(time.Duration(r.mood.ExpFloat64()*float64(r.lease)/2), 3*r.lease)
	switch mood := r.mood.IntN(4); {
	case mood == 0:
		lasts = 0
	case mood == 1 && r.troubles:
		lasts = 4 * r.lease // until it loses the lock, with luck
	}
	return duty{lasts, r.mood.IntN(6) == 0}
}

// livePresent is one life of a process of the present version.
func (r *rival) livePresent(ctx context.Context) {
	l := &setlock.Lock{Key: r.key, Pool: redistest.Pool(r.t, r.network.Dial), Owner: r.name, Lease: r.lease, Replicas: r.replicas}
	for died := false; !died && ctx.Err() == nil; {
		led := false
		err := l.Do(ctx, func(ctx context.Context) error {
			led = true
			fence, _ := setlock.FenceFromContext(ctx)
			// In real time, the timer that ends a context may run late.
			r.begins(fence, func() bool { return ctx.Err() == nil && (r.exact || l.Fence() != 0) })
			d := r.duty()
			sleep(ctx, d.lasts)
			r.ends(ctx.Err() == nil && !d.dies)
			if died = d.dies; died {
				r.network.HangUp()
			}
			return nil
		})
		switch {
		case led:
			sleep(ctx, r.lease/20+time.Duration(r.mood.Int64N(int64(r.lease/4))))
		case err == setlock.ErrNotHeld:
			r.follows()
			r.awaitRelease(ctx, l)
		default:
			sleep(ctx, r.lease/20)
		}
	}
}

// awaitRelease blocks until the watch of l shows that nobody holds the lock, or until ctx ends.
func (r *rival) awaitRelease(ctx context.Context, l *setlock.Lock) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for h := range l.Watch(ctx) {
		if h.Nobody() {
			stop()
		}
	}
}

// liveEarlier is one life of a process of the earlier version.
func (r *rival) liveEarlier(ctx context.Context) {
	e := newEarlierLock(r.t, r.network.Dial, r.key, r.name)
	wake := make(chan struct{}, 1)
	notify := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	stop := e.listen(r.lease/20, notify, func(earlierHeard) { notify() })
	defer stop()
	for died := false; !died && ctx.Err() == nil; {
		sent := time.Now()
		attempt, cancel := context.WithTimeout(ctx, r.lease/3)
		acquired, left, err := e.acquire(attempt, r.lease)
		cancel()
		switch {
		case err != nil:
			sleep(ctx, r.lease/20)
		case acquired:
			died = r.leadEarlier(ctx, e, sent, wake)
			sleep(ctx, r.lease/20+time.Duration(r.mood.Int64N(int64(r.lease/4))))
		default:
			r.follows()
			select {
			case <-wake:
			case <-time.After(min(left+time.Millisecond, r.lease)):
			case <-ctx.Done():
			}
		}
	}
}

// An earlierTrust is until when the earlier version believes in a hold: for 0.9 of the lease, from
// before the last request that counted.
type earlierTrust struct {
	mu    sync.Mutex
	lease time.Duration
	sent  time.Time
}

func (t *earlierTrust) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lease - t.lease/10 - time.Since(t.sent)
}

func (t *earlierTrust) believes() bool { return t.left() > 0 }

func (t *earlierTrust) renewed(sent time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(sent) < t.lease-t.lease/10 {
		t.sent = sent
	}
}

// leadEarlier leads under the hold that e has acquired, by a request sent at sent. It
// renews every third of the lease, after a failure sooner, and when an announcement names
// another. It reports whether the process died.
func (r *rival) leadEarlier(ctx context.Context, e *earlierLock, sent time.Time, wake <-chan struct{}) (died bool) {
	trust := &earlierTrust{lease: r.lease, sent: sent}
	if !trust.believes() {
		e.orphans, e.value = append(e.orphans, e.value), ""
		return false
	}
	r.begins(e.fence, trust.believes)
	d := r.duty()
	work := time.NewTimer(d.lasts)
	defer work.Stop()
	pause := r.lease / 3
	for trust.believes() {
		select {
		case <-work.C:
			r.ends(!d.dies)
			if !d.dies {
				r.releaseEarlier(ctx, e)
			}
			return d.dies
		case <-ctx.Done():
			r.ends(true)
			r.releaseEarlier(ctx, e)
			return false
		case <-wake:
		case <-time.After(min(pause, trust.left())):
		}
		if !trust.believes() {
			break
		}
		sent := time.Now()
		attempt, cancel := context.WithTimeout(ctx, min(r.lease/6, trust.left()))
		mine, err := e.renew(attempt, r.lease)
		cancel()
		switch {
		case err != nil:
			pause = r.lease / 20
		case !mine:
			r.ends(false)
			e.value, e.fence = "", 0
			return false
		default:
			pause = r.lease / 3
			trust.renewed(sent)
		}
	}
	r.ends(false)
	r.releaseEarlier(ctx, e)
	return false
}

// releaseEarlier makes one attempt to release the lock, and remembers the hold where that fails.
func (r *rival) releaseEarlier(ctx context.Context, e *earlierLock) {
	attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.lease/12)
	defer cancel()
	if _, err := e.release(attempt); err != nil {
		e.orphans, e.value = append(e.orphans, e.value), ""
	}
}
