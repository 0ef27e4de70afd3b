// Package wire makes calls to Redis on a redigo pool. A call is one round trip, and
// ends when its context does, whatever the pool is blocked in. What became of it is
// its fate.
//
// It knows nothing of locks. A command that must not remain without anybody knowing
// comes with the command that undoes it.
package wire
