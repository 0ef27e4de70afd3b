package protocol

import (
	"strings"
	"time"
)

// FenceLinger is how much longer than its lock a fence key lives, when a script has set the
// remaining time of both.
const FenceLinger = 2 * time.Hour

// Keys are the names that one lock has in Redis.
type Keys struct {
	Key     string // of the lock
	Channel string // of the lock's announcements

	// The lock key, the fence key and the channel, as arguments. They are converted once,
	// because every command has them.
	lock, fence, channel any
}

// NewKeys returns the names of the lock on key.
func NewKeys(key string) *Keys {
	channel := "setlock:" + key
	return &Keys{Key: key, Channel: channel, lock: key, fence: fenceKey(key), channel: channel}
}

// fenceKey returns the key of the fencing tokens. It is in the same Cluster slot as key,
// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags.
func fenceKey(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok && strings.IndexByte(after, '}') > 0 {
		return key + ":fence"
	}
	return "{" + key + "}:fence"
}

// Arguments of the scripts, converted once.
var (
	lingerMillis any = FenceLinger.Milliseconds()
	noChannel    any = "" // nothing is announced
)

// Acquire returns the command that acquires the lock for d with value. The lock is free
// where the key does not exist, and where one of orphans holds it. Where mine holds the
// lock, the outcome is Mine. The script announces the acquisition only if announced is
// true.
func (k *Keys) Acquire(value string, d time.Duration, announced bool, mine string, orphans []string) Command {
	c := acquire.command(k.lock, k.fence, value, Milliseconds(d), lingerMillis, k.channelIf(announced), mine)
	for _, orphan := range orphans {
		c.Args = append(c.Args, orphan)
	}
	return c
}

// Renew returns the command that sets the remaining time of the hold with value to d.
func (k *Keys) Renew(value string, d time.Duration) Command {
	return renew.command(k.lock, value, Milliseconds(d))
}

// RenewBoth returns the command that sets the remaining time of the hold with value and
// fence to d, and that of its fence key to FenceLinger more.
func (k *Keys) RenewBoth(value string, fence int64, d time.Duration) Command {
	return renewBoth.command(k.lock, k.fence, value, Milliseconds(d), lingerMillis, fence)
}

// Extend returns the command that adds d to the remaining time of the hold with value and
// fence. A key without expiry gets the longer of d and least.
func (k *Keys) Extend(value string, fence int64, d, least time.Duration) Command {
	return extend.command(k.lock, k.fence, value, Milliseconds(d), lingerMillis, fence, Milliseconds(least))
}

// Release returns the command that releases the lock where one of values holds it. The
// script announces the release only if announced is true.
func (k *Keys) Release(announced bool, values ...string) Command {
	c := release.command(k.lock, k.channelIf(announced))
	for _, value := range values {
		c.Args = append(c.Args, value)
	}
	return c
}

// Look returns the command that reads who holds the lock.
func (k *Keys) Look() Command { return look.command(k.lock, k.fence) }

// Announce returns the command that publishes a.
func (k *Keys) Announce(a Announcement) Command {
	return Command{Name: "PUBLISH", Args: []any{k.channel, a.String()}}
}

func (k *Keys) channelIf(announced bool) any {
	if announced {
		return k.channel
	}
	return noChannel
}

// Wait returns the command that blocks until n replicas have what this connection has
// written, for d at most: https://redis.io/docs/latest/commands/wait/.
func Wait(n int, d time.Duration) Command {
	return Command{Name: "WAIT", Args: []any{n, Milliseconds(d)}}
}
