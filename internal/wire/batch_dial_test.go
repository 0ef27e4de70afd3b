package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/internal/wire"
)

// ctx ends while Dial runs. Nothing is sent.
func TestBatchWhoseDialTakesLong(t *testing.T) {
	why := errors.New("why")
	for _, heeds := range []bool{true, false} {
		inBubble(t, func(t *testing.T, w *locktest.World, _ *redis.Pool) {
			pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
				if heeds {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				time.Sleep(time.Hour)
				return w.Network.Dial(ctx)
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(why) })
			before := w.Server.CommandCount()
			_, fate, err := doAll(t, ctx, pool, wire.Batch{Commands: renewals(w, 2)})
			if fate != wire.NotSent || !heeds && err != why {
				t.Errorf("fate %v, %v, want %v", fate, err, wire.NotSent)
			}
			synctest.Wait()
			if got := w.Server.CommandCount(); got != before {
				t.Errorf("%d commands were sent", got-before)
			}
		})
	}
}

// Dial fails, or calls runtime.Goexit.
func TestBatchWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &redis.Pool{Dial: func() (redis.Conn, error) { return nil, errors.New("why") }}
		command := keys.Renew("v", time.Minute)
		if fate, err := wire.DoAll(t.Context(), pool, wire.Batch{Commands: []protocol.Command{command}}); fate != wire.NotSent || fmt.Sprint(err) != "why" {
			t.Errorf("fate %v, %v, want %v", fate, err, wire.NotSent)
		}
		pool.Dial = func() (redis.Conn, error) { runtime.Goexit(); return nil, nil }
		var wg sync.WaitGroup
		wg.Go(func() {
			wire.DoAll(t.Context(), pool, wire.Batch{Commands: []protocol.Command{command}})
			t.Error("DoAll returns after a Goexit in Dial")
		})
		wg.Wait()
	})
}

// The server does not read on while its replies are not read, as one that is full does. A batch
// that is larger than any buffer goes through, and one whose server stops reading ends with ctx.
func TestBatchThatIsLargerThanTheBuffers(t *testing.T) {
	for _, stops := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const n = 1000
			var serving sync.WaitGroup
			defer serving.Wait()
			end := make(chan struct{})
			defer close(end)
			pool := &redis.Pool{Dial: func() (redis.Conn, error) {
				client, conn := net.Pipe() // without a buffer
				serving.Go(func() {
					defer conn.Close()
					p := redis.NewConn(conn, 0, 0) // reads a request as a reply
					for i := 0; ; i++ {
						if _, err := p.Receive(); err != nil {
							return
						}
						if stops && i == n/2 {
							<-end
							return
						}
						if _, err := conn.Write([]byte(":1\r\n")); err != nil {
							return
						}
					}
				})
				return redis.NewConn(client, 0, 0), nil
			}}
			defer pool.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			commands := slices.Repeat([]protocol.Command{keys.Renew("v", time.Minute)}, n)
			got, fate, err := doAll(t, ctx, pool, wire.Batch{Commands: commands})
			switch {
			case !stops:
				got.answered(t, n, nil)
			case fate != wire.Unknown || !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("fate %v, %v, want a timeout", fate, err)
			default:
				got.answered(t, n/2, nil)
			}
		})
	}
}
