package setlock

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// The scripts document their keys, arguments and replies; the constants below
// are their replies.
var (
	//go:embed acquire.lua
	acquireSource string
	//go:embed renew.lua
	renewSource string
	//go:embed extend.lua
	extendSource string
	//go:embed release.lua
	releaseSource string
	//go:embed holder.lua
	holderSource string

	acquireScript = newScript(2, acquireSource)
	renewScript   = newScript(2, renewSource)
	extendScript  = newScript(2, extendSource)
	releaseScript = newScript(1, releaseSource)
	holderScript  = newScript(2, holderSource)
)

// A script is a Lua script as arguments of EVALSHA and EVAL: made once.
type script struct{ source, hash, keys any }

func newScript(keys int, source string) *script {
	return &script{source: source, hash: redis.NewScript(keys, source).Hash(), keys: keys}
}

// with returns the exchange that runs s with keys and arguments.
func (s *script) with(args ...any) *exchange {
	x := &exchange{script: s}
	x.args = append(append(x.room[:0], s.hash, s.keys), args...)
	return x
}

// sendHash sends s to a server that knows it.
func (s *script) sendHash(conn redis.Conn, args []any) error { return conn.Send("EVALSHA", args...) }

// send sends s to a server that may not know it.
func (s *script) send(conn redis.Conn, args []any) error {
	args[0] = s.source
	return conn.Send("EVAL", args...)
}

// What acquire.lua returns.
const (
	replyAcquired = 1
	replyMine     = 2
	replyOther    = 3
)

// replyReleased is what release.lua returns when it has released the lock.
const replyReleased = 1

// replyRenewed is what renew.lua returns when it has set the time.
const replyRenewed = 1

// replyNotMine is what renew.lua, extend.lua and release.lua return when the
// value of the lock key is not the caller's.
const replyNotMine = 0

// What PTTL returns instead of a time.
const (
	pttlNoExpiry = -1
	pttlNoKey    = -2
)

var errReply = errors.New("unexpected reply")

// intReply reads the reply of a script that returns one integer.
func intReply(reply any) (int64, error) {
	n, ok := reply.(int64)
	if !ok {
		return 0, fmt.Errorf("%w %.100q", errReply, fmt.Sprint(reply))
	}
	return n, nil
}

// notMineOr reads the reply of a script that returns replyNotMine or an integer of
// at least 1 and at most most.
func notMineOr(reply any, most int64) (int64, error) {
	n, err := intReply(reply)
	if err == nil && (n < replyNotMine || n > most) {
		return 0, fmt.Errorf("%w %d", errReply, n)
	}
	return n, err
}

// isReleaseReply reports whether reply is one of release.lua.
func isReleaseReply(reply any) bool {
	_, err := notMineOr(reply, replyReleased)
	return err == nil
}

// An acquisition is what acquire.lua has done or found.
type acquisition struct {
	outcome  int64
	fence    int64         // of replyAcquired
	previous int64         // of replyAcquired: the fence before
	left     time.Duration // of the others: the remaining time of who holds the lock
}

// acquireReply reads the reply of acquire.lua.
func acquireReply(reply any) (acquisition, error) {
	values, _ := reply.([]any)
	numbers := make([]int64, 0, 3)
	for _, v := range values {
		if n, ok := v.(int64); ok {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == len(values) {
		switch {
		case len(numbers) == 3 && numbers[0] == replyAcquired:
			return acquisition{outcome: replyAcquired, fence: numbers[1], previous: numbers[2]}, nil
		case len(numbers) == 2 && (numbers[0] == replyMine || numbers[0] == replyOther):
			return acquisition{outcome: numbers[0], left: remainingTime(numbers[1])}, nil
		}
	}
	return acquisition{}, fmt.Errorf("%w %.100q", errReply, fmt.Sprint(reply))
}

// acquiredMessage is what acquire.lua publishes of an acquisition, for one that is announced later.
func acquiredMessage(a acquisition, d time.Duration, value string) string {
	return fmt.Sprintf("acquired %d %d %d %s", a.fence, milliseconds(d), a.previous, value)
}

// remainingTime turns what PTTL says of an existing key into a duration that
// is never 0: less than a millisecond counts as one, no expiry is negative.
func remainingTime(pttl int64) time.Duration {
	if pttl == pttlNoExpiry {
		return -time.Millisecond
	}
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(max(pttl, 1), most)) * time.Millisecond
}

// milliseconds rounds d up to what Redis takes: whole ones, at least 1.
func milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return max(ms, 1)
}

// fenceKey returns the key of the fencing tokens: in the same Cluster slot as
// key, https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags.
func fenceKey(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok && strings.IndexByte(after, '}') > 0 {
		return key + ":fence"
	}
	return "{" + key + "}:fence"
}

// names are what a lock is called in Redis, as arguments of scripts: made once.
type names struct {
	key, fence, channel any
	topic               string // channel
}

func newNames(key string) *names {
	topic := channelOf(key)
	return &names{key, fenceKey(key), topic, topic}
}

// lingerMillis is fenceLinger as an argument of scripts.
var lingerMillis any = fenceLinger.Milliseconds()

// channelOf returns the channel of key's announcements.
func channelOf(key string) string { return "setlock:" + key }

// parseFence reads what stands in a fence key: 0 for anything that is not a
// fencing token.
func parseFence(s string) int64 {
	fence, err := strconv.ParseInt(s, 10, 64)
	if err != nil || fence < 0 || s[0] == '+' {
		return 0
	}
	return fence
}
