// Package protocol defines what the lock says to Redis: the keys, the scripts with their
// arguments, and how replies and announcements are read. It does no I/O. No reply makes it
// panic.
package protocol
