package protocol

import (
	"strings"
	"time"
)

// fenceLinger is how much longer a fence key lives than its lock would.
const fenceLinger = time.Hour

// Keys are the names of one lock in Redis.
type Keys struct {
	Key     string // of the lock
	Channel string // of its announcements

	// The same and the fence key, boxed once, because they are arguments of every command.
	lock, fence, channel any
}

// NewKeys returns the names of the lock on key.
func NewKeys(key string) *Keys {
	channel := "setlock:" + key
	return &Keys{Key: key, Channel: channel, lock: key, fence: fenceKey(key), channel: channel}
}

// fenceKey returns the key of the fencing tokens: in the same Cluster slot as
// key, https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags.
func fenceKey(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok && strings.IndexByte(after, '}') > 0 {
		return key + ":fence"
	}
	return "{" + key + "}:fence"
}

// lingerMillis and silent are arguments of scripts.
var (
	lingerMillis any = fenceLinger.Milliseconds()
	silent       any = "" // instead of a channel: nothing is announced
)

// Acquire acquires the lock for d with value. The lock is also free where one of orphans
// holds it; where mine holds it, it is this caller's already. Without announced, nobody is told.
func (k *Keys) Acquire(value string, d time.Duration, announced bool, mine string, orphans []string) Command {
	c := acquire.command(k.lock, k.fence, value, Milliseconds(d), lingerMillis, k.channelIf(announced), mine)
	for _, orphan := range orphans {
		c.Args = append(c.Args, orphan)
	}
	return c
}

// Renew sets the remaining time of the hold with value and fence to d.
func (k *Keys) Renew(value string, fence int64, d time.Duration) Command {
	return renew.command(k.lock, k.fence, value, Milliseconds(d), lingerMillis, fence)
}

// Extend adds d to the remaining time of the hold with value and fence. A key without expiry
// gets at least least.
func (k *Keys) Extend(value string, fence int64, d, least time.Duration) Command {
	return extend.command(k.lock, k.fence, value, Milliseconds(d), lingerMillis, fence, Milliseconds(least))
}

// Release releases the lock where one of values holds it. Without announced, nobody is told.
func (k *Keys) Release(announced bool, values ...string) Command {
	c := release.command(k.lock, k.channelIf(announced))
	for _, value := range values {
		c.Args = append(c.Args, value)
	}
	return c
}

// Look reads who holds the lock.
func (k *Keys) Look() Command { return look.command(k.lock, k.fence) }

// Announce tells subscribers of a.
func (k *Keys) Announce(a Announcement) Command {
	return Command{Name: "PUBLISH", Args: []any{k.channel, a.String()}}
}

func (k *Keys) channelIf(announced bool) any {
	if announced {
		return k.channel
	}
	return silent
}

// Wait waits for n replicas to have what this connection has written, for d at most:
// https://redis.io/docs/latest/commands/wait/.
func Wait(n int, d time.Duration) Command {
	return Command{Name: "WAIT", Args: []any{n, Milliseconds(d)}}
}

// Milliseconds rounds d up to what Redis takes: whole ones, at least 1.
func Milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return max(ms, 1)
}
