// Package wire makes calls to Redis on a redigo pool. A call is one request to Redis and
// what became of it, which is its fate. A call ends when its context ends, whatever the
// pool is blocked in.
//
// Package wire knows nothing of locks. A command whose effect must not remain unnoticed
// comes with the command that undoes it.
package wire
