package setlock_test

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
)

//go:embed testdata/earlier/*.lua
var earlierSources embed.FS

func earlierScript(name string, keys int) *redis.Script {
	source, err := earlierSources.ReadFile("testdata/earlier/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return redis.NewScript(keys, string(source))
}

var (
	earlierAcquire = earlierScript("acquire", 2)
	earlierRenew   = earlierScript("renew", 2)
	earlierExtend  = earlierScript("extend", 2)
	earlierRelease = earlierScript("release", 1)
	earlierHolder  = earlierScript("holder", 2)
)

// An earlierLock is a lock as the earlier version had it: its scripts, called with the same keys and
// arguments, and the same names in Redis. It is not safe for concurrent use, except for listen.
type earlierLock struct {
	t                    testing.TB
	pool                 *redis.Pool
	key, fences, channel string
	owner                string
	value                string // of the hold; "": none
	fence                int64  // of the hold
	orphans              []string
}

// earlierLinger is how much longer than the lock the earlier version had the fence key live.
const earlierLinger = time.Hour

var errEarlierReply = errors.New("a reply that the earlier version does not know")

func newEarlierLock(t testing.TB, dial redistest.Dialer, key, owner string) *earlierLock {
	fences := "{" + key + "}:fence"
	if _, after, ok := strings.Cut(key, "{"); ok && strings.IndexByte(after, '}') > 0 {
		fences = key + ":fence"
	}
	return &earlierLock{
		t: t, pool: redistest.Pool(t, dial), key: key, fences: fences, channel: "setlock:" + key, owner: owner,
	}
}

// call runs a script on a connection of the pool. sent reports whether the script may have run.
func (e *earlierLock) call(ctx context.Context, script *redis.Script, args ...any) (reply any, sent bool, err error) {
	conn, err := e.pool.GetContext(ctx)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	reply, err = script.DoContext(ctx, conn, args...)
	var refused redis.Error
	return reply, !errors.As(err, &refused), err
}

// acquire makes one attempt to acquire the lock for d.
func (e *earlierLock) acquire(ctx context.Context, d time.Duration) (acquired bool, left time.Duration, err error) {
	value := rand.Text() + ":" + e.owner
	args := []any{e.key, e.fences, value, d.Milliseconds(), earlierLinger.Milliseconds(), e.channel, e.value}
	for _, orphan := range e.orphans {
		args = append(args, orphan)
	}
	reply, sent, err := e.call(ctx, earlierAcquire, args...)
	if err != nil {
		if sent {
			e.orphans = append(e.orphans, value)
		}
		return false, 0, err
	}
	values, _ := reply.([]any)
	if len(values) != 2 {
		return false, 0, fmt.Errorf("%w: %v", errEarlierReply, reply)
	}
	outcome, _ := values[0].(int64)
	number, _ := values[1].(int64)
	switch outcome {
	case 1:
		e.value, e.fence = value, number
		return true, 0, nil
	case 2, 3:
		return false, time.Duration(number) * time.Millisecond, nil
	}
	return false, 0, fmt.Errorf("%w: %v", errEarlierReply, reply)
}

// setTime runs the renew or the extend script.
func (e *earlierLock) setTime(ctx context.Context, script *redis.Script, d time.Duration) (int64, error) {
	reply, _, err := e.call(ctx, script, e.key, e.fences, e.value, d.Milliseconds(), earlierLinger.Milliseconds(), e.fence)
	return redis.Int64(reply, err)
}

// renew sets the remaining time of the lock to d. It returns whether the lock is still this one's.
func (e *earlierLock) renew(ctx context.Context, d time.Duration) (mine bool, err error) {
	n, err := e.setTime(ctx, earlierRenew, d)
	return n == 1, err
}

// extend adds d to the remaining time of the lock. It returns the new remaining time; 0:
// the lock is another's.
func (e *earlierLock) extend(ctx context.Context, d time.Duration) (time.Duration, error) {
	n, err := e.setTime(ctx, earlierExtend, d)
	return time.Duration(n) * time.Millisecond, err
}

// release releases the lock. It returns whether the lock was this one's.
func (e *earlierLock) release(ctx context.Context) (released bool, err error) {
	args := []any{e.key, e.channel, e.value}
	for _, orphan := range e.orphans {
		args = append(args, orphan)
	}
	reply, _, err := e.call(ctx, earlierRelease, args...)
	n, err := redis.Int64(reply, err)
	if err == nil {
		e.value, e.fence = "", 0
	}
	return n == 1, err
}

// holder returns who holds the lock, "" for nobody, and with which fence.
func (e *earlierLock) holder(ctx context.Context) (owner string, fence int64, err error) {
	reply, _, err := e.call(ctx, earlierHolder, e.key, e.fences)
	values, err := redis.Values(reply, err)
	if err != nil {
		return "", 0, err
	}
	var left int64
	var fences, value string
	if _, err := redis.Scan(values, &left, &fences, &value); err != nil || left == -2 {
		return "", 0, err
	}
	_, owner, _ = strings.Cut(value, ":")
	fence, err = strconv.ParseInt(fences, 10, 64)
	return owner, fence, err
}

// An earlierHeard is what the earlier version understands of one announcement.
type earlierHeard struct {
	acquired bool
	value    string
	fence    int64
	previous string
	lease    time.Duration
}

func earlierParse(message string) (earlierHeard, bool) {
	if value, ok := strings.CutPrefix(message, "released "); ok {
		return earlierHeard{value: value}, true
	}
	fields := strings.SplitN(message, " ", 5)
	if len(fields) < 5 || fields[0] != "acquired" {
		return earlierHeard{}, false
	}
	fence, err1 := strconv.ParseInt(fields[1], 10, 64)
	ms, err2 := strconv.ParseInt(fields[2], 10, 64)
	return earlierHeard{true, fields[4], fence, fields[3], time.Duration(ms) * time.Millisecond}, err1 == nil && err2 == nil
}

// listen subscribes to the announcements, on connections of its own, until stop is called. It calls
// subscribed after each subscription, and hear with each announcement.
func (e *earlierLock) listen(pause time.Duration, subscribed func(), hear func(earlierHeard)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			e.receive(ctx, subscribed, hear)
			sleep(ctx, pause)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// receive listens on one connection until the connection breaks or ctx ends.
func (e *earlierLock) receive(ctx context.Context, subscribed func(), hear func(earlierHeard)) {
	conn, err := e.pool.DialContext(ctx)
	if err != nil {
		return
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		conn.Close()
	})
	defer func() {
		if !stop() {
			<-closed
		}
		conn.Close()
	}()
	pubsub := redis.PubSubConn{Conn: conn}
	if pubsub.Subscribe(e.channel) != nil {
		return
	}
	for {
		switch message := pubsub.Receive().(type) {
		case error:
			return
		case redis.Subscription:
			subscribed()
		case redis.Message:
			a, ok := earlierParse(string(message.Data))
			if !ok {
				e.t.Errorf("the earlier version does not understand the announcement %q", message.Data)
				continue
			}
			hear(a)
		}
	}
}

// sleep blocks for d, or until ctx has ended.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
