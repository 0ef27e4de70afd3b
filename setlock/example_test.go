package setlock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock"
)

// newPool returns a pool on an embedded Redis, for the examples. One for a
// server looks like this:
//
//	pool := &redis.Pool{
//		MaxIdle: 4,
//		DialContext: func(ctx context.Context) (redis.Conn, error) {
//			return redis.DialContext(ctx, "tcp", "localhost:6379",
//				redis.DialConnectTimeout(time.Second))
//		},
//	}
func newPool() (pool *redis.Pool, stop func()) {
	server := miniredis.NewMiniRedis()
	pool = &redis.Pool{
		MaxIdle: 4,
		Dial: func() (redis.Conn, error) {
			conn, err := server.Dial()
			if err != nil {
				return nil, err
			}
			return redis.NewConn(conn, time.Second, time.Second), nil
		},
	}
	return pool, func() {
		pool.Close()
		server.Close()
	}
}

// Work that one process at a time may do, when "not now" is an answer.
func Example() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	report := func(ctx context.Context) error {
		fmt.Println("reporting")
		return ctx.Err()
	}

	l := &setlock.Lock{Key: "nightly-report", Pool: pool}
	err := l.Do(ctx, report) // report's context ends before another can hold the lock
	if err == setlock.ErrNotHeld {
		log.Println("another is at it")
	}
	fmt.Println(err)
	// Output:
	// reporting
	// <nil>
}

func ExampleLock_Do() {
	pool, stop := newPool()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	l := &setlock.Lock{Key: "nightly-report", Pool: pool}
	err := l.Do(ctx, func(ctx context.Context) error {
		for page := range 3 {
			if err := ctx.Err(); err != nil {
				return err // the lock is lost, or ctx has ended
			}
			fmt.Println("page", page)
		}
		return nil
	})
	switch {
	case err == setlock.ErrNotHeld:
		fmt.Println("another is at it")
	case errors.Is(err, setlock.ErrLost):
		fmt.Println("lost the lock on the way:", err)
	case err != nil:
		log.Fatal(err)
	}
	// Output:
	// page 0
	// page 1
	// page 2
}

func ExampleLock_Lock() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()

	a := &setlock.Lock{Key: "k", Pool: pool}
	b := &setlock.Lock{Key: "k", Pool: pool}
	if _, err := a.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	left, err := b.Lock(ctx, time.Minute)
	fmt.Println(left > 0, err)
	_, err = a.Lock(ctx, time.Minute)
	fmt.Println(err)
	// Output:
	// true setlock: not held
	// setlock: already held
}

func ExampleLock_Extend() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()

	l := &setlock.Lock{Key: "k", Pool: pool}
	if _, err := l.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	if err := l.Extend(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	left, _ := l.Lock(ctx, 0) // ErrAlreadyHeld, and what is left
	fmt.Println(left.Round(time.Minute))
	// Output: 2m0s
}

func ExampleLock_Renew() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()

	l := &setlock.Lock{Key: "k", Pool: pool}
	if _, err := l.Lock(ctx, time.Second); err != nil {
		log.Fatal(err)
	}
	if err := l.Renew(ctx, time.Hour); err != nil {
		log.Fatal(err)
	}
	left, _ := l.Lock(ctx, 0) // ErrAlreadyHeld, and what is left
	fmt.Println(left.Round(time.Hour))
	// Output: 1h0m0s
}

func ExampleLock_Unlock() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()

	l := &setlock.Lock{Key: "k", Pool: pool}
	fmt.Println(l.Unlock(ctx))
	if _, err := l.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Unlock(ctx))
	// Output:
	// setlock: not held
	// <nil>
}

func ExampleLock_Fence() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()

	l := &setlock.Lock{Key: "k", Pool: pool}
	fmt.Println(l.Fence())
	if _, err := l.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	first := l.Fence()
	if err := l.Unlock(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := l.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Fence() > first)
	// Output:
	// 0
	// true
}

// A write that a holder which woke up too late cannot make: the script remembers
// the greatest token that it has seen.
func ExampleFenceFromContext() {
	pool, stop := newPool()
	defer stop()

	write := redis.NewScript(1, `
		local seen = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
		if tonumber(ARGV[1]) < seen then return 0 end
		redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
		return 1`)
	save := func(ctx context.Context, fence int64, value string) {
		conn, err := pool.GetContext(ctx)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		written, err := redis.Bool(write.DoContext(ctx, conn, "resource", fence, value))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(value, written)
	}

	var stale int64
	l := &setlock.Lock{Key: "k", Pool: pool}
	for _, value := range []string{"first", "second"} {
		err := l.Do(context.Background(), func(ctx context.Context) error {
			fence, _ := setlock.FenceFromContext(ctx)
			save(ctx, fence, value)
			if stale == 0 {
				stale = fence
			}
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	save(context.Background(), stale, "too late")
	// Output:
	// first true
	// second true
	// too late false
}

func ExampleLock_Holder() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()

	l := &setlock.Lock{Key: "k", Pool: pool, Owner: "host-7"}
	h, err := l.Holder(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("nobody:", h.Nobody())
	if _, err := l.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	h, err = l.Holder(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(h.Owner, h.Fence == l.Fence(), h.Remaining > 0)
	// Output:
	// nobody: true
	// host-7 true true
}

func ExampleLock_Watch() {
	pool, stop := newPool()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	l := &setlock.Lock{Key: "k", Pool: pool, Owner: "host-7"}
	holders := l.Watch(ctx)
	fmt.Println("nobody:", (<-holders).Nobody())
	if _, err := l.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	fmt.Println((<-holders).Owner)
	cancel()
	for range holders { // until it is closed
	}
	// Output:
	// nobody: true
	// host-7
}

func ExampleHolder_Nobody() {
	fmt.Println(setlock.Holder{}.Nobody())
	fmt.Println(setlock.Holder{Owner: "host-7", Fence: 1, Remaining: time.Second}.Nobody())
	// Output:
	// true
	// false
}
