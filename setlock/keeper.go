package setlock

import (
	"math/rand/v2"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

// keep renews the lock until the term is lost or over.
//
// The first renewal comes early, together with the subscription to what is
// announced, for that tells nothing of the time before it. The second comes
// after a random part of what is then left of a third of the lease, so that terms
// that began together do not renew together, and neither do those that have missed
// Redis together. From then on, each is sent a third of the lease after the one
// before. What is announced is checked by a renewal besides, which takes the place
// of the next if that comes due meanwhile: then it goes on as after the first.
func (t *term) keep() {
	l := t.lock
	timer := t.clock.NewTimer(t.lease.settle())
	defer timer.Stop()
	var (
		announced *subscription
		signal    <-chan struct{}
		pool      = l.Pool // where the next renewal gets its connection
		first     = true   // the first renewal is to come
		failing   = false  // the last one has failed
	)
	for {
		scheduled := false
		select {
		case <-t.background.Done():
			return
		case <-signal:
			if news, look, up := announced.take(); !up || !look && !t.contradicts(news) {
				continue
			}
		case <-timer.C():
			scheduled = true
		}
		if announced == nil {
			announced = t.hub.subscribe(t.background, l.Pool, l.redisNames().topic)
			defer announced.close()
			signal = announced.signal
		}
		sent := t.clock.Now()
		if !t.renew(pool) {
			failing = true
			if pool == l.Pool {
				pool = t.hub.spare
			} else {
				pool = l.Pool
			}
			timer.Reset(t.lease.retry())
			continue
		}
		if !scheduled && !failing {
			select {
			case <-timer.C(): // the next one would be due: this is it
			default:
				continue // a check does not change the schedule
			}
		}
		pause := t.lease.renewEvery() - clock.Elapsed(sent, t.clock.Now())
		if first || failing || !scheduled {
			pause = rand.N(max(pause, 0) + 1)
		}
		pool, first, failing = l.Pool, false, false
		timer.Reset(pause)
	}
}

// renew makes one attempt to renew the lock, on a connection of pool. It
// reports whether that counts; the term may be lost or over if not.
func (t *term) renew(pool *redis.Pool) bool {
	select {
	case t.renewing <- struct{}{}:
		defer func() { <-t.renewing }() // also if somebody's Logger exits
	default:
		return false // over
	}
	ctx, cancel := clock.WithTimeout(t.background, min(t.lease.attempt(), t.left()))
	defer cancel()
	r := t.lock.settingTime(t.hold, renewScript, time.Duration(t.lease)).do(ctx, pool)
	err := r.err
	if err == nil {
		var n int64
		if n, err = notMineOr(r.reply, replyRenewed); err == nil && n == replyNotMine {
			err = errTaken
		}
	}
	switch {
	case err == errTaken || refusedWith(err, "WRONGTYPE"):
		t.taken()
		t.lock.taken(t.hold)
		return false
	case err == nil && !t.renewed(r.sent):
		err = errLate
	}
	if err != nil {
		t.renewalFailed(err)
	}
	return err == nil
}

// contradicts reports whether an announcement tells of anything but this hold.
func (t *term) contradicts(news []byte) bool {
	a, ok := parseAnnouncement(string(news))
	return len(news) > 0 && !(ok && a.acquired && a.value == t.hold.value)
}
