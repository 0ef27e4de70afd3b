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

// acquireReply reads the reply of acquire.lua.
func acquireReply(reply any) (outcome, number int64, err error) {
	values, ok := reply.([]any)
	if ok && len(values) == 2 {
		outcome, ok1 := values[0].(int64)
		number, ok2 := values[1].(int64)
		if ok1 && ok2 && outcome >= replyAcquired && outcome <= replyOther {
			return outcome, number, nil
		}
	}
	return 0, 0, fmt.Errorf("%w %.100q", errReply, fmt.Sprint(reply))
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
