package main

import (
	"context"
	"errors"
	"fmt"
)

// allStories is the name that stands for all stories.
const allStories = "all"

// errTold ends a demo whose stories are told.
var errTold = errors.New("all stories are told")

// A story does something to the replicas or to Redis, and checks what becomes of it. Its steps are
// always the same. Which replica leads is chance.
type story struct {
	name string
	tell func(*stage) error
}

var stories = []story{
	{"failover", failover},
	{"pause", pausedLeader},
	{"partition", partition},
	{"redis", outages},
}

// storyNames returns what -script can be.
func storyNames() []string {
	var names []string
	for _, s := range stories {
		names = append(names, s.name)
	}
	return append(names, allStories)
}

// tellStories tells the stories that -script names.
func (d *demo) tellStories(ctx context.Context) error {
	views, done := d.views.watch()
	defer done()
	for _, story := range stories {
		if d.script != allStories && d.script != story.name {
			continue
		}
		s := &stage{ctx: ctx, d: d, views: views, name: story.name}
		if story.name == "pause" && !canPause {
			s.say("is left out: this system cannot pause a process")
			continue
		}
		if err := story.tell(s); err != nil {
			return fmt.Errorf("story %s: %w", story.name, err)
		}
	}
	return nil
}

// failover kills the leader, and has the next one resign.
func failover(s *stage) error {
	s.say("a leader dies, the next one resigns")
	first, err := s.leader()
	if err != nil {
		return err
	}
	if err := s.do("kill", first.Leader); err != nil {
		return err
	}
	if _, err := s.another(first, s.d.lease); err != nil {
		return err
	}
	second, err := s.leader()
	if err != nil {
		return err
	}
	if err := s.do("resign", second.Leader); err != nil {
		return err
	}
	_, err = s.another(second, 0)
	return err
}

// pausedLeader pauses the leader until another leads, and continues it.
func pausedLeader(s *stage) error {
	s.say("a leader is stopped for longer than its lease, and continues")
	first, err := s.leader()
	if err != nil {
		return err
	}
	if err := s.do("pause", first.Leader); err != nil {
		return err
	}
	second, err := s.another(first, s.d.lease)
	if err != nil {
		return err
	}
	if err := s.do("continue", first.Leader); err != nil {
		return err
	}
	if _, err := s.await(first.Leader+" knows that it does not lead any more", 0, func(v *view) bool { return v.ended(first) }); err != nil {
		return err
	}
	s.say("%s knows that it does not lead any more; %s leads", first.Leader, second.Leader)
	return nil
}

// partition cuts the leader off from Redis until another leads, and connects it again.
func partition(s *stage) error {
	s.say("a leader is cut off from Redis, and comes back")
	first, err := s.leader()
	if err != nil {
		return err
	}
	if err := s.do("cut", first.Leader); err != nil {
		return err
	}
	if _, err := s.await(first.Leader+" stops", s.d.lease, func(v *view) bool { return v.ended(first) }); err != nil {
		return err
	}
	s.say("%s has stopped, although nothing reaches it", first.Leader)
	if _, err := s.another(first, s.d.lease); err != nil {
		return err
	}
	return s.do("heal", first.Leader)
}

// outages stops Redis for less than a third of the lease, and then for longer than the lease. In the
// second outage Redis loses its data.
func outages(s *stage) error {
	s.say("Redis is away for a short time, then for a long time, and loses its data")
	first, err := s.leader()
	if err != nil {
		return err
	}
	if err := s.do("stop", ""); err != nil {
		return err
	}
	if err := s.wait(s.d.lease / 5); err != nil {
		return err
	}
	if err := s.do("start", ""); err != nil {
		return err
	}
	if err := s.wait(s.d.lease); err != nil {
		return err
	}
	if v, err := s.await("the present state", 0, func(*view) bool { return true }); err != nil {
		return err
	} else if v.ended(first) {
		return fmt.Errorf("%s has lost the leadership by an outage of a fifth of its lease", first.Leader)
	}
	s.say("%s still leads", first.Leader)

	if err := s.do("stop", ""); err != nil {
		return err
	}
	if _, err := s.await(first.Leader+" stops", s.d.lease, func(v *view) bool { return v.ended(first) }); err != nil {
		return err
	}
	s.say("%s has stopped, before its lease can have run out", first.Leader)
	if err := s.do("flush", ""); err != nil {
		return err
	}
	if err := s.do("start", ""); err != nil {
		return err
	}
	next, err := s.await("a leader", s.d.lease, func(v *view) bool { return v.Leader != "" })
	if err != nil {
		return err
	}
	if next.fence() <= first.fence() {
		return fmt.Errorf("%s leads with the fence %d after %d", next.Leader, next.fence(), first.fence())
	}
	s.say("%s leads, with a higher fence than before", next.Leader)
	return nil
}
