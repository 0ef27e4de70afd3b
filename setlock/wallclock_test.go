package setlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
	"example.com/setlock/internal/locktest"
)

// The wall clock moves against the monotonic clock. Trust has ended when it has ended by either.

// onWall runs test with ten sessions that have renewed, and whose wall clock test sets.
func onWall(t *testing.T, test func(t *testing.T, w *locktest.World, wall *clocktest.Wall, c *locktest.Crowd)) {
	t.Helper()
	const n = 10
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Quick()
		w.Server.Forbid("SUBSCRIBE")
		wall := clocktest.NewWall()
		ctx := clock.NewContext(t.Context(), wall)
		c := locktest.NewCrowdUnder(ctx, t, locktest.Locks(w.Lock(lease).Pool, "k", n, lease)...)
		time.Sleep(2 * lease)
		test(t, w, wall, c)
	})
}

// lostWithin fails t unless all sessions are lost d from now, and within that time.
func lostWithin(t *testing.T, c *locktest.Crowd, d time.Duration) {
	t.Helper()
	start := time.Now()
	time.Sleep(d)
	synctest.Wait()
	lost := c.Lost()
	if len(lost) != 10 {
		t.Errorf("%d of 10 sessions are lost after %v", len(lost), d)
	}
	for key, loss := range lost {
		if loss.At.Before(start) {
			t.Errorf("%s was lost too soon", key)
		}
	}
}

func TestWallClockJumpsForward(t *testing.T) {
	onWall(t, func(t *testing.T, w *locktest.World, wall *clocktest.Wall, c *locktest.Crowd) {
		time.Sleep(lease / 37) // between two looks at the clock
		wall.Step(lease)
		lostWithin(t, c, lease/20)
	})
	onWall(t, func(t *testing.T, w *locktest.World, wall *clocktest.Wall, c *locktest.Crowd) {
		wall.Step(lease / 4) // the trust that is left is longer, and the renewals that are due come
		time.Sleep(3 * lease)
		c.MustLose("after a short jump")
	})
}

// Redis is silent, and the wall clock runs faster than the monotonic clock. Each step is too small
// to count as a jump.
func TestWallClockThatDrifts(t *testing.T) {
	onWall(t, func(t *testing.T, w *locktest.World, wall *clocktest.Wall, c *locktest.Crowd) {
		const parts, faster = 3000, 6 // in a step of lease/parts, the wall clock moves a sixth more
		const step, ahead = lease / parts, lease / parts / faster
		renewals := w.Server.Requests("renew")
		time.Sleep(lease)
		away := time.Now()
		trouble["silent"](w)
		for range parts * 6 / 5 {
			time.Sleep(step)
			wall.Step(ahead)
		}
		lost := c.Lost()
		if len(lost) != 10 {
			t.Errorf("%d of 10 sessions are lost", len(lost))
		}
		renewed := make(map[string]time.Time)
		for _, r := range renewals() {
			if r.At.Before(away) {
				renewed[r.Key] = r.At
			}
		}
		for key, loss := range lost {
			got := loss.At.Sub(away)
			got += got/faster + away.Sub(renewed[key]) // by the wall clock
			// A difference of a hundredth counts, and is looked for every twentieth of the lease.
			late := lease/100 + lease/20/faster
			locktest.Between(t, "lost after its last renewal", got, lease*9/10-2*step, lease*9/10+late+2*step)
		}
		w.Disconnect()
	})
}

func TestWallClockStepsBack(t *testing.T) {
	onWall(t, func(t *testing.T, w *locktest.World, wall *clocktest.Wall, c *locktest.Crowd) {
		renewals := w.Server.Requests("renew")
		wall.Step(-time.Hour)
		time.Sleep(3 * lease)
		c.MustLose("after a step back")
		for key, gap := range locktest.Gaps(renewals()) {
			if gap > lease/3 {
				t.Errorf("%s was renewed %v after the renewal before, want %v at most", key, gap, lease/3)
			}
		}
		if got := len(renewals()); got > 10*10 {
			t.Errorf("%d renewals by 10 sessions in three leases", got)
		}
		trouble["silent"](w)
		away := time.Now()
		time.Sleep(lease * 6 / 5)
		allLost(t, c, 10, away)
		w.Disconnect()
	})
}

// The wall clock steps back and, a while later, forward to the true time. Elapsed judges: since the
// renewals that were sent in between, an hour has passed by the wall clock.
func TestWallClockStepsBackAndForth(t *testing.T) {
	onWall(t, func(t *testing.T, w *locktest.World, wall *clocktest.Wall, c *locktest.Crowd) {
		wall.Step(-time.Hour)
		time.Sleep(2 * lease)
		c.MustLose("after a step back")
		wall.Step(time.Hour)
		lostWithin(t, c, lease/20)
	})
	onWall(t, func(t *testing.T, w *locktest.World, wall *clocktest.Wall, c *locktest.Crowd) {
		wall.Step(-time.Hour)
		wall.Step(time.Hour) // before anybody has looked
		time.Sleep(2 * lease)
		c.MustLose("after both steps at once")
	})
}
