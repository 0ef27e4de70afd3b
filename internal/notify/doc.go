// Package notify receives the messages that Redis publishes. One connection serves all
// subscriptions of a Notifier. It is dialled again when it breaks, when it does not answer,
// and when it does not deliver a message that it should deliver.
//
// Package notify knows channels and bytes. Its subscribers know what a message means, and
// whether a message is missing.
package notify
