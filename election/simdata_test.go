package election_test

import (
	"time"
)

// canLoseData reports whether the fence keys may be lost: not while the clock of the
// server is behind a last fence, for then nobody promises that the next is greater.
func (s *simulation) canLoseData(_ *peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.fence
	for _, l := range s.locks {
		last = max(last, l.fence)
	}
	return s.serverTime().UnixMicro() > last
}

// canExpireFence reports whether the lock key has gone, which the fence key outlives by an hour.
func (s *simulation) canExpireFence(p *peer) bool {
	value, _ := s.key()
	return value == "" && s.canLoseData(p)
}

func (s *simulation) flush() {
	s.excuse()
	s.upsetCompanions()
	s.server.FlushAll()
}

// A snapshot is the data of the server at some time of its.
type snapshot struct {
	at   time.Time
	data []stored
}

// A stored is a key with its value, and how long it was to live; 0: for good.
type stored struct {
	key, value string
	left       time.Duration
}

// shoot takes one, and forgets old ones.
func (s *simulation) shoot() {
	shot := snapshot{at: s.serverTime()}
	for _, key := range s.keys() {
		if value, _ := s.server.Get(key); value != "" {
			shot.data = append(shot.data, stored{key, value, s.server.TTL(key)})
		}
	}
	s.shots = append(s.shots, shot)
	if len(s.shots) > 30 {
		s.shots = s.shots[1:]
	}
}

// restore sets the data back to a snapshot of the last three leases.
func (s *simulation) restore() {
	s.flush()
	if len(s.shots) == 0 {
		return
	}
	shot := s.shots[s.rand.IntN(len(s.shots))]
	for _, d := range shot.data {
		left := d.left - s.serverTime().Sub(shot.at)
		if left <= 0 && d.left > 0 {
			continue
		}
		s.server.Set(d.key, d.value)
		if d.left > 0 {
			s.server.SetTTL(d.key, left)
		} else {
			s.expel(s.lease)
		}
	}
}

func (s *simulation) del(_ *peer, _ time.Duration) {
	s.excuse()
	s.server.Del(lockKey)
}

// steal has a program write into the key that knows nothing of locks, for d, by an
// expiry or until it is deleted.
func (s *simulation) steal(_ *peer, d time.Duration) {
	s.excuse()
	s.server.Set(lockKey, foreign)
	if s.rand.IntN(2) == 0 {
		s.server.SetTTL(lockKey, d)
		return
	}
	s.expel(d)
}

// expel deletes what does not expire, in d.
func (s *simulation) expel(d time.Duration) {
	s.after(d, func() {
		if value, _ := s.key(); value == foreign {
			s.excuse()
			s.server.Del(lockKey)
		}
	})
}
