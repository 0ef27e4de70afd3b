package election_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock"
)

// A soakTerm is the time from the begin of a peer's work to the end of its context.
type soakTerm struct {
	peer  *soakPeer
	fence int64
	begin time.Time
	ctx   context.Context
	over  chan struct{} // closed when its end has been judged
	loss  *soakSpan     // that took its key, guarded by soak.mu
}

// A soakOverlap is the time in which the contexts of two terms live.
type soakOverlap struct {
	old, young *soakTerm
	begin      time.Time
}

// A soakSpan is a span of time. Its end is zero until it has ended.
type soakSpan struct{ begin, end time.Time }

// elected judges the begin of a term. It also decides how the work of the term goes.
func (s *soak) elected(ctx context.Context, p *soakPeer) (term *soakTerm, mood float64, linger time.Duration) {
	fence, _ := setlock.FenceFromContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	term = &soakTerm{peer: p, fence: fence, begin: now, ctx: ctx, over: make(chan struct{})}
	s.terms++
	if by, taken := s.fences[fence]; taken {
		s.errorf("%s has the fence %d of %s", p.name, fence, by)
	}
	s.fences[fence] = p.name
	if fence <= s.last && ctx.Err() == nil && s.lossOf(term) == nil && s.stalls.since(now.Add(-s.lease)) < s.lease/20 {
		s.errorf("%s is elected with %d after %d", p.name, fence, s.last)
	}
	s.last = max(s.last, fence)
	if p.working != nil {
		s.errorf("%s works twice", p.name)
	}
	for _, other := range s.live {
		if other.ctx.Err() == nil && ctx.Err() == nil {
			o := &soakOverlap{old: other, young: term, begin: now}
			if other.fence > fence {
				o.old, o.young = term, other
			}
			s.overlaps = append(s.overlaps, o)
		}
	}
	p.working = term
	s.live = append(s.live, term)
	s.judging.Add(1)
	context.AfterFunc(ctx, func() {
		defer s.judging.Done()
		s.ended(term)
	})
	mood, linger = p.mood.Float64(), time.Duration(min(p.mood.ExpFloat64()/4, 0.5)*float64(s.lease))
	if s.quiet {
		mood = 0.5 // until the key has been looked at
	}
	return term, mood, linger
}

// ended judges a term whose context has ended.
func (s *soak) ended(term *soakTerm) {
	defer close(term.over)
	now := time.Now()
	s.mu.Lock()
	s.live = slices.DeleteFunc(s.live, func(t *soakTerm) bool { return t == term })
	s.overlaps = slices.DeleteFunc(s.overlaps, func(o *soakOverlap) bool {
		if o.old != term && o.young != term {
			return false
		}
		took, late := now.Sub(o.begin), s.stalls.since(o.begin.Add(-s.lease))
		loss := s.lossOf(o.old)
		switch {
		case loss != nil && !o.begin.Before(loss.begin) && since(loss, now) <= s.allowed(o.old, loss)+late:
			s.excused++
			s.longestExcused = max(s.longestExcused, took)
		case late >= s.lease/20 && took <= late:
			s.stalled++
		default:
			s.wrong++
			s.errorf("%s with %d and %s with %d led for %v, with a stall of %v",
				o.old.peer.name, o.old.fence, o.young.peer.name, o.young.fence, took, late)
		}
		return true
	})
	if term.loss != nil {
		took, allowed, late := since(term.loss, now), s.allowed(term, term.loss), s.stalls.since(term.loss.begin.Add(-s.lease))
		if took > allowed+late {
			s.errorf("%s believed for %v after its key had gone, want %v, with a stall of %v", term.peer.name, took, allowed, late)
		}
		if allowed < s.lease/2 {
			s.prompt++
		} else {
			s.patient++
		}
	}
	lost := errors.Is(context.Cause(term.ctx), setlock.ErrLost)
	if lost {
		s.lost = append(s.lost, now)
	}
	s.mu.Unlock()
	if lost {
		s.margin(term, now)
	}
}

// margin measures how long the key still lived when the context of a term ended by a loss.
func (s *soak) margin(term *soakTerm, ended time.Time) {
	reply, err := redis.Values(ask(s.server.Addr, s.lease/5, "EVAL",
		"return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '', redis.call('TIME'), redis.call('PTTL', KEYS[1])}",
		2, "k", "{k}:fence"))
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer redis.Error
	switch {
	case errors.As(err, &answer) && !strings.HasPrefix(err.Error(), "LOADING"):
		s.errorf("the margin of %s: %v", term.peer.name, err)
		return
	case err != nil:
		s.away++
		return
	}
	held, _ := redis.String(reply[0], nil)
	fence, _ := redis.String(reply[1], nil)
	clock, err := redis.Int64s(reply[2], nil)
	left, _ := redis.Int64(reply[3], nil)
	if err != nil || len(clock) != 2 {
		s.errorf("TIME says %v, %v", reply[2], err)
		return
	}
	late := s.stalls.since(ended.Add(-s.lease))
	var margin time.Duration // none: the key is gone
	switch {
	case strings.HasSuffix(held, ":"+term.peer.name) && fence == strconv.FormatInt(term.fence, 10):
		margin = time.Unix(clock[0], clock[1]*1000).Add(time.Duration(left) * time.Millisecond).Sub(ended)
	case s.lossOf(term) != nil:
		return // it was taken
	case term.peer.working != term, now.Sub(ended) > s.lease/20:
		s.unknown++ // the work has returned, or the answer came when the key might have expired
		return
	}
	s.margins++
	if margin < s.worst {
		s.worst, s.worstStall = margin, late
	}
	switch {
	case margin >= s.lease/10-s.lease/20:
	case margin >= s.lease/10-s.lease/20-2*late && late >= s.lease/40:
		s.starve++
	default:
		s.errorf("%s: %v of the key was left when its context ended, with a stall of %v: %v", term.peer.name, margin, late, context.Cause(term.ctx))
	}
}

// lossOf returns the loss that took the key of a term, or nil. The reply to an acquisition before a
// loss may come after it, within the time for an acquisition. s.mu is locked.
func (s *soak) lossOf(term *soakTerm) *soakSpan {
	if term.loss != nil {
		return term.loss
	}
	for _, l := range s.losses {
		if !term.begin.Before(l.begin) && since(l, term.begin) <= s.lease/3+s.lease/20 {
			return l
		}
	}
	return nil
}

// since returns how long ago l ended, and 0 before its end.
func since(l *soakSpan, now time.Time) time.Duration {
	if l.end.IsZero() {
		return 0
	}
	return now.Sub(l.end)
}

// allowed returns how long after a loss the holder may believe that it leads, without stalls. If all
// is well with the holder, that is until the next renewal or the one after, and a moment for a busy
// machine. Otherwise it is until its trust has ended. s.mu is locked.
func (s *soak) allowed(term *soakTerm, loss *soakSpan) time.Duration {
	soon := s.lease/3 + s.lease/20 + s.lease/10
	from, to := loss.begin.Add(-s.lease/3), loss.end.Add(soon)
	wrong := func(ill *soakSpan) bool { return ill.begin.Before(to) && (ill.end.IsZero() || ill.end.After(from)) }
	if slices.ContainsFunc(s.ill, wrong) || slices.ContainsFunc(term.peer.ill, wrong) ||
		!s.asked.IsZero() && time.Since(s.asked) > s.lease/20 && s.asked.Before(to) {
		return s.lease - s.lease/10 + s.lease/20
	}
	return soon
}

// illness begins a time in which something is not well.
func (s *soak) illness(of *[]*soakSpan) (over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	span := &soakSpan{begin: time.Now()}
	*of = append(s.recent(*of), span)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		span.end = time.Now()
	}
}

// recent drops the spans that ended long ago. s.mu is locked.
func (s *soak) recent(spans []*soakSpan) []*soakSpan {
	return slices.DeleteFunc(spans, func(l *soakSpan) bool { return !l.end.IsZero() && time.Since(l.end) > 10*s.lease })
}

// lose calls do, which loses data or takes the key.
func (s *soak) lose(do func()) {
	over := s.illness(&s.losses)
	s.mu.Lock()
	for _, term := range s.live {
		if term.loss == nil {
			term.loss = s.losses[len(s.losses)-1]
		}
	}
	s.mu.Unlock()
	do()
	over()
}

// listen judges the announcements of the server while it is connected: fences increase in the order
// of the announcements, and the key is not released while its holder works.
func (s *soak) listen(ctx context.Context) {
	var last int64
	fences := make(map[string]int64) // by the value of the key
	for ctx.Err() == nil {
		conn, err := redis.Dial("tcp", s.server.Addr, redis.DialConnectTimeout(time.Second))
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		subscriber := redis.PubSubConn{Conn: conn}
		for err := subscriber.Subscribe("setlock:k"); err == nil; {
			switch m := subscriber.Receive().(type) {
			case error:
				err = m
			case redis.Message:
				words := strings.Fields(string(m.Data))
				switch words[0] {
				case "acquired":
					fence, _ := strconv.ParseInt(words[1], 10, 64)
					if fence <= last {
						s.errorf("%s was given the fence %d after %d", words[4], fence, last)
					}
					last = fence
					clear(fences)
					fences[words[4]] = fence
				case "released":
					s.released(words[1], fences[words[1]])
				}
			}
		}
		stop()
		conn.Close()
	}
}

func (s *soak) released(value string, fence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if strings.HasSuffix(value, ":"+p.name) && p.working != nil && p.working.fence == fence {
			s.errorf("%s: released while its work goes on", p.name)
		}
	}
}
