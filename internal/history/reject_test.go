package history_test

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

const ms = int64(time.Millisecond)

// during returns o as it was between two moments, in milliseconds.
func during(from, to int64, o op) op {
	o.call, o.ret = from*ms, to*ms
	return o
}

func took(client, hold int, fence int64) op {
	return op{action: acquire, client: client, hold: hold, d: time.Second, outcome: done, fence: fence}
}

// TestChecker has the checker tell what is legal from what is not: it must be able to fail.
func TestChecker(t *testing.T) {
	maybe := func(o op) op { o.outcome = unknown; o.fence = 0; return o }
	keeps := func(o op) op { o.kept = true; return o }
	told := func(o op, left time.Duration) op { o.left = left; return o }
	releases := func(client, hold int, what outcome) op {
		return op{action: release, client: client, hold: hold, outcome: what}
	}
	renews := func(client, hold int, d time.Duration, what outcome) op {
		return op{action: renew, client: client, hold: hold, d: d, outcome: what}
	}
	extends := func(client, hold int, d time.Duration, what outcome) op {
		return op{action: extend, client: client, hold: hold, d: d, outcome: what}
	}
	sees := func(owner int, fence int64) op { return op{action: look, outcome: done, owner: owner, fence: fence} }
	believes := func(client, hold int) op {
		return op{action: believe, client: client, hold: hold, outcome: done, kept: true}
	}
	denied := func(client int) op {
		return op{action: acquire, client: client, hold: 90 + client, outcome: other, d: time.Second}
	}
	finishes := func(client, hold int, what outcome) op {
		return op{action: finish, client: client, hold: hold, outcome: what}
	}
	writes := func(fence int64, value int, what outcome) op {
		return op{action: write, fence: fence, value: value, outcome: what}
	}
	reads := func(fence int64, value int) op { return op{action: read, fence: fence, value: value, outcome: done} }
	gone := op{action: look, outcome: nobody}
	removed := op{action: remove, outcome: done}
	persisted := op{action: persist, outcome: done}
	removes := func(fence int64, left time.Duration) op {
		return op{action: remove, outcome: done, fence: fence, left: left}
	}
	trusts := func(client, hold int, fence int64) op {
		return op{action: believe, client: client, hold: hold, fence: fence, outcome: done, kept: true}
	}

	for name, test := range map[string]struct {
		legal bool
		ops   []op
	}{
		"one after another": {true, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, releases(1, 1, done)), during(4, 5, took(2, 2, 6)),
		}},
		"two holders": {false, []op{during(0, 1, took(1, 1, 5)), during(2, 3, took(2, 2, 6))}},
		"two holders, the release on its way": {true, []op{
			during(0, 1, took(1, 1, 5)), during(2, 9, releases(1, 1, unknown)), during(4, 5, took(2, 2, 6)),
		}},
		"two holders before the release": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, took(2, 2, 6)), during(4, 5, releases(1, 1, done)),
		}},
		"the expiry removed": {true, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, persisted), during(5000, 5001, sees(1, 5)), during(5002, 5003, told(denied(2), -time.Millisecond)),
		}},
		"the expiry removed, and expired": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, persisted), during(5000, 5001, took(2, 2, 6)),
		}},
		"told of no expiry where there is one": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, told(denied(2), -time.Millisecond)),
		}},
		"the expiry removed, and given back": {true, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, persisted), during(4, 5, extends(1, 1, time.Second, done)), during(1900, 1901, took(2, 2, 6)),
		}},
		"the expiry removed, and given back for too short a time": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, persisted), during(4, 5, extends(1, 1, time.Second, done)), during(900, 901, took(2, 2, 6)),
		}},
		"the key removed": {true, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, removed), during(4, 5, took(2, 2, 6)),
		}},
		"fence that goes back": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, releases(1, 1, done)), during(4, 5, took(2, 2, 4)),
		}},
		"fence given twice": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, removed), during(4, 5, took(2, 2, 5)),
		}},
		"fence of another hold seen": {false, []op{during(0, 1, took(1, 1, 5)), during(2, 3, sees(1, 4))}},
		"release of another's": {false, []op{
			during(0, 1, took(1, 1, 5)), during(1002, 1003, took(2, 2, 6)), during(1004, 1005, releases(1, 1, done)),
		}},
		"release of another's, seen by its holder": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, releases(2, 0, notHeld)), during(4, 5, renews(1, 1, time.Second, notHeld)),
		}},
		"renewal of another's": {false, []op{
			during(0, 1, took(1, 1, 5)), during(1002, 1003, took(2, 2, 6)), during(1004, 1005, renews(1, 1, time.Second, done)),
		}},
		"renewal of what has expired": {false, []op{
			during(0, 1, took(1, 1, 5)), during(1002, 1003, renews(1, 1, time.Second, done)),
		}},
		"expiry at its time": {true, []op{during(0, 1, took(1, 1, 5)), during(900, 1000, took(2, 2, 6))}},
		"expiry too early":   {false, []op{during(0, 1, took(1, 1, 5)), during(900, 999, took(2, 2, 6))}},
		"expiry too early after a renewal": {false, []op{
			during(0, 1, took(1, 1, 5)), during(500, 501, renews(1, 1, time.Second, done)), during(1499, 1499, took(2, 2, 6)),
		}},
		"expiry too early after an extension": {false, []op{
			during(0, 1, took(1, 1, 5)), during(500, 501, extends(1, 1, time.Second, done)), during(1998, 1998, took(2, 2, 6)),
		}},
		"expiry after an extension": {true, []op{
			during(0, 1, took(1, 1, 5)), during(500, 501, extends(1, 1, time.Second, done)), during(2001, 2001, took(2, 2, 6)),
		}},
		"held for longer than its lease": {false, []op{during(0, 1, took(1, 1, 5)), during(1002, 1003, denied(2))}},
		"a remaining time that is not":   {false, []op{during(0, 1, took(1, 1, 5)), during(500, 501, told(denied(2), 700*time.Millisecond))}},
		"a remaining time":               {true, []op{during(0, 1, took(1, 1, 5)), during(500, 501, told(denied(2), 500*time.Millisecond))}},
		"nobody, while it is held":       {false, []op{during(0, 1, took(1, 1, 5)), during(500, 501, gone)}},
		"held by another, and free":      {false, []op{during(0, 1, denied(1))}},
		"not held, and it is":            {false, []op{during(0, 1, took(1, 1, 5)), during(2, 3, extends(1, 1, time.Second, notHeld))}},
		"believed too long":              {false, []op{during(0, 1, took(1, 1, 5)), during(1002, 1002, believes(1, 1))}},
		"a Do believed to the end":       {true, []op{during(0, 1, keeps(took(1, 1, 5))), during(5000, 5000, believes(1, 1)), during(5100, 5101, took(2, 2, 6))}},
		"a Do believed beyond":           {false, []op{during(0, 1, keeps(took(1, 1, 5))), during(5000, 5000, believes(1, 1)), during(5090, 5099, took(2, 2, 6))}},
		"removed, and believed to its end": {true, []op{
			during(0, 1, took(1, 1, 5)), during(500, 500, removes(5, 501*time.Millisecond)), during(1001, 1001, trusts(1, 1, 5)),
		}},
		"removed, and believed beyond": {false, []op{
			during(0, 1, took(1, 1, 5)), during(500, 500, removes(5, 501*time.Millisecond)), during(1002, 1002, trusts(1, 1, 5)),
		}},
		"removed under a Do, and believed while it is trusted": {true, []op{
			during(0, 1, keeps(took(1, 1, 5))), during(5000, 5000, removes(5, time.Second)), during(5900, 5900, trusts(1, 1, 5)),
		}},
		"removed under a Do, and believed beyond": {false, []op{
			during(0, 1, keeps(took(1, 1, 5))), during(5000, 5000, removes(5, time.Second)), during(5901, 5901, trusts(1, 1, 5)),
		}},
		"removed after an extension under a Do, and believed beyond": {false, []op{
			during(0, 1, keeps(took(1, 1, 5))), during(5000, 5000, removes(5, 9*time.Second)), during(5901, 5901, trusts(1, 1, 5)),
		}},
		"removed late under a Do, and believed beyond": {false, []op{
			during(0, 1, keeps(took(1, 1, 5))), during(5000, 5000, removes(5, 200*time.Millisecond)), during(5101, 5101, trusts(1, 1, 5)),
		}},
		"removed, and another believed": {false, []op{
			during(0, 1, took(1, 1, 5)), during(2, 3, removes(5, time.Second)), during(4, 5, took(2, 2, 6)),
			during(6, 7, releases(2, 2, done)), during(8, 8, trusts(2, 2, 6)),
		}},
		"a Do that has released":      {false, []op{during(0, 1, keeps(took(1, 1, 5))), during(10, 11, finishes(1, 1, done)), during(12, 13, sees(1, 5))}},
		"a Do that could not release": {true, []op{during(0, 1, keeps(took(1, 1, 5))), during(10, 11, finishes(1, 1, unknown)), during(12, 13, sees(1, 5))}},
		"a lost reply, adopted": {true, []op{
			during(0, 9000, maybe(took(1, 1, 0))), during(10, 11, denied(2)), during(12, 13, took(1, 2, 6)),
		}},
		"a lost reply, undone": {true, []op{
			during(0, 9000, maybe(took(1, 1, 0))), during(10, 11, sees(1, 5)), during(12, 13, took(2, 2, 6)),
		}},
		"a lost reply told as not held": {false, []op{during(0, 1, denied(1)), during(10, 11, sees(1, 5))}},
		"a lost reply, held for longer than its lease": {false, []op{
			during(0, 9, maybe(took(1, 1, 0))), during(1010, 1011, sees(1, 5)),
		}},
		"a lost renewal counts or not": {true, []op{
			during(0, 1, took(1, 1, 5)), during(500, 9000, renews(1, 1, 100*time.Millisecond, unknown)), during(700, 701, took(2, 2, 6)),
		}},
		"a lost renewal adds nothing": {false, []op{
			during(0, 1, took(1, 1, 5)), during(500, 501, renews(1, 1, time.Second, unknown)), during(1502, 1503, denied(2)),
		}},

		"writes in the order of their fences": {true, []op{
			during(0, 1, writes(5, 1, done)), during(2, 3, writes(6, 2, done)), during(4, 5, writes(5, 3, refused)), during(6, 7, reads(6, 2)),
		}},
		"a stale write accepted":      {false, []op{during(0, 1, writes(6, 1, done)), during(2, 3, writes(5, 2, done))}},
		"a stale write read":          {false, []op{during(0, 9, writes(5, 2, unknown)), during(0, 1, writes(6, 1, done)), during(2, 3, reads(5, 2))}},
		"a good write refused":        {false, []op{during(0, 1, writes(5, 1, done)), during(2, 3, writes(5, 2, refused))}},
		"a write that is lost":        {false, []op{during(0, 1, writes(5, 1, done)), during(2, 3, writes(6, 2, done)), during(4, 5, reads(5, 1))}},
		"a write of unknown outcome":  {true, []op{during(0, 9, writes(5, 1, unknown)), during(2, 3, reads(0, 0)), during(4, 5, reads(5, 1))}},
		"a write that comes and goes": {false, []op{during(0, 9, writes(5, 1, unknown)), during(2, 3, reads(5, 1)), during(4, 5, reads(0, 0))}},
	} {
		t.Run(name, func(t *testing.T) {
			want := porcupine.Illegal
			if test.legal {
				want = porcupine.Ok
			}
			if got := porcupine.CheckOperationsTimeout(lockModel(0), operations(excuse(test.ops)), checkTimeout); got != want {
				t.Errorf("the checker says %v, want %v", got, want)
			}
		})
	}
}
