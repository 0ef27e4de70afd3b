// Package notify receives what Redis publishes: one connection serves all
// subscriptions of a Notifier, and is dialled again when it breaks, when it does not
// answer, and when it keeps silent about what it should tell.
//
// It knows channels and bytes. What a message means, and whether one is missing, its
// subscribers know.
package notify
