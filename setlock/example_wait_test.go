package setlock_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"example.com/setlock/setlock"
)

// The loop that runs work under the lock as soon as the lock is free.
func ExampleLock_Wait() {
	pool, stop := newPool()
	defer stop()
	ctx := context.Background()
	other := &setlock.Lock{Key: "k", Pool: pool}
	if _, err := other.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { other.Unlock(ctx) })

	l := &setlock.Lock{Key: "k", Pool: pool}
	work := func(context.Context) error {
		fmt.Println("working")
		return nil
	}
	err := l.Do(ctx, work)
	for err == setlock.ErrNotHeld {
		if err = l.Wait(ctx); err == nil {
			err = l.Do(ctx, work)
		}
	}
	fmt.Println(err)
	// Output:
	// working
	// <nil>
}
