package history_test

// A zone is what is known of two moments, in nanoseconds: t, the present, and e,
// when the hold expires. It is the set of all pairs within its bounds, d being e - t.
// Sets of that shape are closed under all that happens to a lock (a difference bound
// matrix, as timed automata are checked with), so nothing is lost by keeping them.
type zone struct {
	tLo, tHi, eLo, eHi, dLo, dHi int64
}

// forever is further away than anything, and three of it do not overflow.
const forever = int64(1) << 61

// ages is what is left of a key without expiry: so much, or a little less after a while.
const ages = int64(1) << 60

func sum(a, b int64) int64 {
	switch {
	case a >= forever || b >= forever:
		return forever
	case a <= -forever || b <= -forever:
		return -forever
	}
	return a + b
}

// tight returns z with every bound as narrow as the others make it.
func (z zone) tight() zone {
	for range 2 {
		z.eLo, z.eHi = max(z.eLo, sum(z.tLo, z.dLo)), min(z.eHi, sum(z.tHi, z.dHi))
		z.tLo, z.tHi = max(z.tLo, sum(z.eLo, -z.dHi)), min(z.tHi, sum(z.eHi, -z.dLo))
		z.dLo, z.dHi = max(z.dLo, sum(z.eLo, -z.tHi)), min(z.dHi, sum(z.eHi, -z.tLo))
	}
	if z.empty() {
		return never // whatever becomes of it
	}
	return z
}

// never is the empty zone.
var never = zone{tLo: forever, tHi: -forever}

func (z zone) empty() bool { return z.tLo > z.tHi || z.eLo > z.eHi || z.dLo > z.dHi }

// elapse lets time pass until some moment of [from, to].
func (z zone) elapse(from, to int64) zone {
	z = z.later()
	z.tLo, z.tHi = max(z.tLo, from), min(z.tHi, to)
	return z.tight()
}

// later lets any time pass.
func (z zone) later() zone {
	z.tHi, z.dLo = forever, -forever
	return z.tight()
}

// within reports whether every pair of z is one of whole. Both are tight.
func (z zone) within(whole zone) bool {
	return z.tLo >= whole.tLo && z.tHi <= whole.tHi && z.eLo >= whole.eLo && z.eHi <= whole.eHi &&
		z.dLo >= whole.dLo && z.dHi <= whole.dHi
}

// left keeps what has between lo and hi left until the expiry.
func (z zone) left(lo, hi int64) zone {
	z.dLo, z.dHi = max(z.dLo, lo), min(z.dHi, hi)
	return z.tight()
}

// expireIn sets the expiry to between lo and hi from now.
func (z zone) expireIn(lo, hi int64) zone {
	z.eLo, z.eHi, z.dLo, z.dHi = -forever, forever, lo, hi
	return z.tight()
}

// extend moves the expiry by between lo and hi.
func (z zone) extend(lo, hi int64) zone {
	z.eLo, z.eHi, z.dLo, z.dHi = sum(z.eLo, lo), sum(z.eHi, hi), sum(z.dLo, lo), sum(z.dHi, hi)
	return z.tight()
}

// renewed lets time pass until some moment of [from, to], and the hold have been
// renewed meanwhile for lease, or up to most, any number of times.
func (z zone) renewed(lease, most, from, to int64) zone {
	most = max(z.dHi, most)
	z.eLo, z.eHi, z.dLo, z.dHi = min(z.eLo, z.tLo+lease), forever, min(z.dLo, lease), forever
	return z.tight().elapse(from, to).left(-forever, most)
}
