package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/setlock/examples/leader/internal/timeline"
)

// mostReplicas bounds how many replicas can be added.
const mostReplicas = 8

var errEnding = errors.New("the demo ends")

// An order asks the demo to do something to a replica or to Redis.
type order struct {
	verb   string
	id     string // the replica; "" for Redis and the demo itself
	byHand bool   // by a person, who then has to kill leaders, too
	result chan error
}

// do has the demo obey, and returns when it has.
func (d *demo) do(o order) error {
	o.result = make(chan error, 1)
	select {
	case d.orders <- o:
		return <-o.result
	case <-d.over:
		return errEnding
	}
}

// obey carries out an order, in the goroutine of loop.
func (d *demo) obey(ctx context.Context, o order) error {
	if d.ending {
		return errEnding
	}
	if o.byHand && d.auto && o.verb != "auto" {
		d.auto = false
		d.say("kills no leader by itself any more, because a button was pressed")
	}
	switch o.verb {
	case "auto":
		return d.toggle()
	case "add":
		return d.add(ctx)
	case "stop", "start", "flush", "restart":
		return d.redis(o.verb)
	}
	c := d.children[o.id]
	if c == nil {
		return fmt.Errorf("%q does not run", o.id)
	}
	switch o.verb {
	case "kill":
		return d.killChild(c)
	case "pause", "continue":
		return d.pause(c, o.verb == "pause")
	case "cut", "heal":
		return d.cut(c, o.verb == "cut")
	case "resign":
		return d.resign(c)
	}
	return fmt.Errorf("%q is nothing that the demo can do", o.verb)
}

// did tells what the demo has done, as a line and as a sentence.
func (d *demo) did(line, sentence string) {
	d.say("%s", line)
	d.headline = sentence
}

func (d *demo) toggle() error {
	d.auto = !d.auto
	if !d.auto {
		d.did("kills no leader by itself any more", "The demo kills no leader by itself any more.")
		return nil
	}
	d.did(fmt.Sprintf("kills each leader after %v", killAfter), fmt.Sprintf("The demo kills each leader after %v.", killAfter))
	d.kill.Reset(killAfter)
	return nil
}

func (d *demo) add(ctx context.Context) error {
	if len(d.ids) == mostReplicas {
		return fmt.Errorf("%d replicas are enough", mostReplicas)
	}
	id := string(rune('a' + len(d.ids)))
	d.ids = append(d.ids, id)
	d.did("adds "+id, id+" joins.")
	return d.startMissing(ctx)
}

// killLeader kills the leader, if the demo does so by itself and the leader is one of its children.
func (d *demo) killLeader() {
	if c := d.children[d.leader]; c != nil && d.auto && !d.ending {
		d.killChild(c)
	}
}

// killChild kills a replica as kill -9 does.
func (d *demo) killChild(c *child) error {
	if c.id == d.leader {
		d.did("kills "+c.id+", which cannot hand over: its lease must run out",
			c.id+" was killed by kill -9 and cannot hand over. Its lease must run out.")
	} else {
		d.did("kills "+c.id+", which does not lead", c.id+" was killed by kill -9. It did not lead.")
	}
	c.killed = true
	c.process.Kill() // an error means that the process has ended already
	return nil
}

func (d *demo) pause(c *child, stop bool) error {
	if c.paused == stop {
		return fmt.Errorf("%s is so already", c.id)
	}
	if stop {
		if err := pause(c.process); err != nil {
			return err
		}
		d.record(timeline.Event{Who: c.id, Kind: timeline.Paused})
		d.did("pauses "+c.id+", which neither renews its lease nor notices that it runs out",
			c.id+" was stopped by SIGSTOP. It does nothing, and does not notice that its lease runs out.")
	} else {
		// The time before the signal: what the replica does from here on counts.
		d.record(timeline.Event{Who: c.id, Kind: timeline.Resumed})
		if err := resume(c.process); err != nil {
			return err
		}
		d.did("continues "+c.id, c.id+" continues after SIGCONT. If it led, it must notice at once whether its time is over.")
	}
	c.paused = stop
	return nil
}

func (d *demo) cut(c *child, off bool) error {
	if c.cut == off {
		return fmt.Errorf("%s is so already", c.id)
	}
	c.cut = off
	if off {
		c.gate.Cut()
		d.record(timeline.Event{Who: c.id, Kind: timeline.Cut})
		d.did("cuts "+c.id+" off from Redis", c.id+" is cut off from Redis. If it leads, it must stop before its lease has run out.")
	} else {
		d.record(timeline.Event{Who: c.id, Kind: timeline.Healed})
		c.gate.Heal()
		d.did("connects "+c.id+" with Redis again", c.id+" reaches Redis again.")
	}
	return nil
}

func (d *demo) resign(c *child) error {
	if c.id != d.leader {
		return fmt.Errorf("%s does not lead", c.id)
	}
	if c.paused {
		return fmt.Errorf("%s is paused", c.id)
	}
	d.record(timeline.Event{Who: c.id, Kind: timeline.Resigns})
	d.did("asks "+c.id+" to resign", c.id+" resigns, and hands over at once.")
	_, err := io.WriteString(c.stdin, orderResign+"\n")
	return err
}

// redis does something to the embedded Redis.
func (d *demo) redis(verb string) error {
	const who = "redis"
	switch verb {
	case "stop", "restart":
		if d.down {
			return errors.New("the server is stopped already")
		}
		d.server.Close()
		d.down = true
		d.record(timeline.Event{Who: who, Kind: timeline.Stopped})
		if verb == "stop" {
			d.did("stops Redis", "Redis is stopped. The leader must stop before its lease has run out.")
			return nil
		}
	case "flush":
		d.server.FlushAll()
		d.record(timeline.Event{Who: who, Kind: timeline.Emptied})
		d.did("flushes Redis: its data is lost", "Redis has lost its data. The leader learns it at its next renewal; until then, two may lead.")
		return nil
	}
	if !d.down {
		return errors.New("the server runs already")
	}
	if err := d.server.Restart(); err != nil {
		return fmt.Errorf("embedded Redis: %w", err)
	}
	d.down = false
	d.record(timeline.Event{Who: who, Kind: timeline.Restored})
	if verb == "start" {
		d.did("starts Redis", "Redis runs again, with the data that it had.")
	} else {
		d.did("restarts Redis: all connections break", "Redis was restarted. All connections broke; its data is still there.")
	}
	return nil
}

// frameEvery is how often the page sees how the lease runs down.
const frameEvery = 200 * time.Millisecond
