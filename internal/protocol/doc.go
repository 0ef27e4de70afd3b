// Package protocol is what the lock says to Redis: the keys, the scripts and
// their arguments, and how replies and announcements are read. It does no I/O, and
// survives every reply.
package protocol
