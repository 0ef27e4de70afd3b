package redispool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/redistest"
)

const (
	// headStart and askAgain are those of the package.
	headStart = 20 * time.Millisecond
	askAgain  = 250 * time.Millisecond
	// dialTimeout is that of sentinelURL and clusterURL.
	dialTimeout = 2 * time.Second

	sentinelURL = "redis://s1:1?master_name=m&addr=s2:2&addr=s3:3&dial_timeout=2s"
)

// sentinels adds three sentinels that name a primary, and this primary.
func (w *world) sentinels() (s1, s2, s3, primary *fake) {
	named := bulks("p", "1")
	return w.add("s1:1", askName, named), w.add("s2:2", askName, named), w.add("s3:3", askName, named), w.add("p:1", "ROLE", isPrimary)
}

func TestSentinelThatHangsCostsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s1, s2, s3, _ := w.sentinels()
		pool := w.pool(sentinelURL)
		s1.hang()
		w.finds(pool, "p:1", 0)
		s1.Set(redistest.Faults{})
		s2.hang()
		s3.hang()
		w.finds(pool, "p:1", headStart) // the sentinel that answered last may hang now
		w.finds(pool, "p:1", 0)
		s1.hang()
		s3.Set(redistest.Faults{})
		w.finds(pool, "p:1", headStart)
		w.finds(pool, "p:1", 0)
	})
}

func TestSentinelThatAnsweredLastIsAskedFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s1, s2, s3, _ := w.sentinels()
		pool := w.pool(sentinelURL)
		s1.hang()
		s2.hang()
		w.finds(pool, "p:1", 0)
		for _, s := range []*fake{s1, s2, s3} {
			s.Set(redistest.Faults{})
			synctest.Wait()
			s.was()
		}
		w.finds(pool, "p:1", 0)
		if a, b, c := len(s1.was()), len(s2.was()), len(s3.was()); a+b != 0 || c != 1 {
			t.Errorf("asked the sentinels %d, %d and %d times, want only the last one", a, b, c)
		}
		s3.Set(redistest.Faults{Refuse: true})
		w.finds(pool, "p:1", 0)
	})
}

// A primary hangs. A dial that has begun finds the new primary when the sentinels know it.
func TestPrimaryThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s1, s2, _, primary := w.sentinels()
		w.add("q:1", "ROLE", isPrimary)
		pool := w.pool(sentinelURL)
		primary.hang()
		const failover = 700 * time.Millisecond
		time.AfterFunc(failover, func() { s2.answer(askName, bulks("q", "1")) })
		s1.hang()
		w.finds(pool, "q:1", failover+askAgain)
	})
}

func TestServerThatIsNoPrimary(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s1, _, _, server := w.sentinels()
		pool := w.pool(sentinelURL)
		server.answer("ROLE", isReplica)
		w.fails(pool, 0, `no primary of "m"`, "p:1", "slave")
		for _, nonsense := range []string{"+OK\r\n", "*0\r\n", "$-1\r\n", "*1\r\n:1\r\n", "*1\r\n*0\r\n"} {
			server.answer("ROLE", nonsense)
			w.fails(pool, 0, "p:1", "ROLE")
		}
		server.answer("ROLE", "-NOPERM no\r\n")
		w.fails(pool, 0, "NOPERM")
		w.add("q:1", "ROLE", isPrimary)
		s1.answer(askName, bulks("q", "1")) // one sentinel knows of a failover already
		w.finds(pool, "q:1", headStart)
	})
}

func TestSentinelsWithoutAPrimary(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s1, s2, s3, _ := w.sentinels()
		pool := w.pool(sentinelURL)
		s1.answer(askName, "*-1\r\n")
		s2.answer(askName, bulks("h"))
		s3.answer(askName, "-NOAUTH no\r\n")
		w.fails(pool, 0, `s1:1: this sentinel knows no "m"`, "s2:2: unexpected reply", "s3:3: SENTINEL: NOAUTH")
		s3.Set(redistest.Faults{Refuse: true})
		w.fails(pool, 0, "s3:3", "refused")
	})
}

// Everything hangs: the dial ends after its time-out, or with its context.
func TestEverythingHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s1, s2, s3, _ := w.sentinels()
		for _, s := range []*fake{s1, s2, s3} {
			s.hang()
		}
		pool := w.pool(sentinelURL)
		err := w.fails(pool, dialTimeout, "s1:1: no answer", "s2:2: no answer", "s3:3: no answer")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no DeadlineExceeded", err)
		}
		cause := errors.New("the caller leaves")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second/10, func() { cancel(cause) })
		start := time.Now()
		if _, err := pool.DialContext(ctx); !errors.Is(err, cause) || time.Since(start) != time.Second/10 {
			t.Errorf("%v after %v, want the cause at once", err, time.Since(start))
		}
		w.closed("")
	})
}

func TestCredentialsForSentinelsAndForRedis(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const ok = "+OK\r\n"
		s := w.add("s1:1", "AUTH guide secret1", ok, "CLIENT SETNAME me", ok, askName, bulks("p", "1"))
		p := w.add("p:1", "AUTH secret2", ok, "CLIENT SETNAME me", ok, "SELECT 3", ok, "ROLE", isPrimary)
		pool := w.pool("redis://guide:secret1@s1:1/3?master_name=m&password=secret2&client_name=me&dial_timeout=2s")
		conn, err := pool.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		equal(t, s.was(), "AUTH guide secret1", "CLIENT SETNAME me", askName)
		equal(t, p.was(), "AUTH secret2", "CLIENT SETNAME me", "SELECT 3", "ROLE")

		// The words of a server that does not know AUTH have the password in them.
		s.answer("AUTH guide secret1", "-ERR unknown command `AUTH`, with args beginning with: `guide` `secret1` \r\n")
		secretFree(t, w.fails(pool, 0, "s1:1", "AUTH was refused"))
		s.answer("AUTH guide secret1", ok)
		p.answer("AUTH secret2", "-WRONGPASS secret2 is wrong\r\n")
		secretFree(t, w.fails(pool, 0, "p:1", "WRONGPASS the user or the password is wrong"))
		p.answer("AUTH secret2", "-secret2 is wrong\r\n")
		secretFree(t, w.fails(pool, 0, "AUTH was refused"))
		p.answer("AUTH secret2", ok)
		p.answer("SELECT 3", "-ERR DB index is out of range\r\n")
		w.fails(pool, 0, "p:1", "SELECT: ERR DB index is out of range")
	})
}
