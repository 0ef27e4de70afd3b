package main

import (
	"context"
	"fmt"
	"time"

	"example.com/setlock/examples/leader/internal/timeline"
	"example.com/setlock/setlock"
)

// sees takes note of a leader that reports nothing, because another terminal has started it.
func (d *demo) sees(ctx context.Context, h setlock.Holder) error {
	if d.foreign != "" {
		d.record(timeline.Event{Who: d.foreign, Kind: timeline.Unseen, Text: "is not seen to lead any more"})
		d.foreign = ""
	}
	if h.Nobody() {
		return nil
	}
	if d.children[h.Owner] == nil {
		e := d.record(timeline.Event{Who: h.Owner, Kind: timeline.Seen, Fence: h.Fence, Text: "is seen to lead"})
		d.foreign = e.Who
		d.greet(e)
	}
	return d.startMissing(ctx)
}

// hears takes note of what a child reports. The child has printed its words.
func (d *demo) hears(ctx context.Context, e timeline.Event) error {
	d.remember(e)
	switch e.Kind {
	case timeline.Elected:
		d.leader = e.Who
		d.kill.Reset(killAfter)
		d.greet(e)
		return d.startMissing(ctx)
	case timeline.Told:
		if d.leader == e.Who {
			d.leader = ""
		}
	}
	return nil
}

// greet tells of a new leader, and for how long there was none before it.
func (d *demo) greet(e timeline.Event) {
	d.last = e.Who
	for _, g := range timeline.Gaps(d.line.Terms(e.Time), e.Time) {
		if g.To.Equal(e.Time) && !g.Open {
			gap := g.Length().Round(time.Millisecond)
			d.say("sees %s lead; nobody led for %v", e.Who, gap)
			d.headline = fmt.Sprintf("%s leads. Nobody led for %.2f\u00a0s, because %s %s.", e.Who, gap.Seconds(), g.Who, g.After)
			return
		}
	}
	d.say("sees %s lead", e.Who)
	d.headline = e.Who + " leads."
}

// ended records the end of a child. It prints the end unless the end is expected, because the demo
// has killed the child or because the demo ends.
func (d *demo) ended(x exit) {
	delete(d.children, x.id)
	led := d.leader == x.id
	if led {
		d.leader = ""
	}
	e := timeline.Event{Time: x.time, Who: x.id, Kind: timeline.Dead, Text: "was killed"}
	e.Killed = x.killed || x.state.ExitCode() < 0 // by a signal
	switch {
	case x.killed:
		d.record(e)
		if led {
			d.restart.Reset(d.lease + restartAfter) // or earlier, when the next leader is elected
		} else {
			d.restart.Reset(restartAfter)
		}
	case d.ending && x.state.ExitCode() == 0:
		e.Text = "has ended"
		d.record(e)
	default:
		e.Text = fmt.Sprintf("has ended by itself: %v", x.state)
		switch {
		case e.Killed && d.ending: // perhaps by us, because it had not ended in time
			e.Text = fmt.Sprintf("was killed while the demo ended: %v", x.state)
		case e.Killed:
			e.Text = fmt.Sprintf("was killed, not by the demo: %v", x.state)
		}
		d.record(e)
		d.say("%s %s", x.id, e.Text)
		d.restart.Reset(restartAfter)
	}
}
