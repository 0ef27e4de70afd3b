package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func TestPulse(t *testing.T) {
	const later = quiet - patience + time.Second
	for _, test := range []struct {
		name string
		p    pulse
		now  time.Duration
		want condition
		wait time.Duration
	}{
		{"quiet", pulse{heard: at(0)}, time.Second, fine, quiet - time.Second},
		{"quiet for long", pulse{heard: at(0)}, quiet, idle, 0},
		{"asked", pulse{heard: at(0), asked: at(time.Minute)}, time.Minute, fine, patience},
		{"asked, no answer", pulse{heard: at(0), asked: at(time.Second)}, time.Second + patience, dead, 0},
		{"asked, something else came", pulse{heard: at(3 * time.Second), asked: at(0)}, patience, fine, 3 * time.Second},
		{"missing", pulse{heard: at(0), missing: at(0)}, time.Second, fine, patience - time.Second},
		{"missing for long", pulse{heard: at(0), missing: at(0)}, patience, mute, 0},
		{"missing for long, no answer", pulse{heard: at(0), missing: at(0), asked: at(0)}, patience, dead, 0},
		{"missing, quiet sooner", pulse{heard: at(0), missing: at(later)}, later, fine, patience - time.Second},
	} {
		if got, wait := test.p.check(at(test.now)); got != test.want || wait != test.wait {
			t.Errorf("%s: condition %v for %v, want %v for %v", test.name, got, wait, test.want, test.wait)
		}
	}
}

// A conversation is a talk with one subscriber of channel a, run step by step.
type conversation struct {
	t    *testing.T
	talk talk
	now  time.Time
	s    *listener
}

func newConversation(t *testing.T) *conversation {
	c := &conversation{t: t, now: start, talk: talk{topics: make(map[string]*topic), changed: make(map[string]bool)}}
	c.subscribe()
	c.talk.begin(c.now)
	return c
}

func (c *conversation) subscribe() {
	c.s = &listener{signal: func() {}, missed: true}
	c.talk.listen("a", c.s)
}

// sends fails the test unless these commands are due.
func (c *conversation) sends(want ...string) {
	c.t.Helper()
	commands, _, ok := c.talk.next(c.now)
	var got []string
	for _, command := range commands {
		got = append(got, strings.TrimSpace(command.name+" "+command.channel))
	}
	if !ok || !slices.Equal(got, want) {
		c.t.Errorf("sends %q, %v, want %q", got, ok, want)
	}
}

// hears has something arrive.
func (c *conversation) hears(parts ...string) {
	var reply []any
	for _, part := range parts {
		reply = append(reply, []byte(part))
	}
	c.talk.hear(reply, nil, c.now)
}

// is fails the test unless the subscriber knows up, and message as the last message.
func (c *conversation) is(up bool, message string) {
	c.t.Helper()
	if c.s.up != up || string(c.s.message) != message {
		c.t.Errorf("up %v with message %q, want %v, %q", c.s.up, c.s.message, up, message)
	}
}

func TestSubscribeAndHear(t *testing.T) {
	c := newConversation(t)
	c.sends("SUBSCRIBE a")
	c.is(false, "")
	c.hears("subscribe", "a", "1")
	c.is(true, "")
	c.hears("message", "a", "one")
	c.hears("message", "b", "another channel's")
	c.is(true, "one")
	c.hears("message", "a", "two")
	c.is(true, "two")
	for _, reply := range []any{nil, "x", int64(1), []any{}, []any{1, 2, 3}, []any{[]byte("message"), []byte("a")}, []any{[]byte("message"), []byte("a"), 1}} {
		c.talk.hear(reply, nil, c.now)
		c.is(true, "two")
	}
	c.talk.end()
	c.is(false, "two")
	c.talk.begin(c.now)
	c.sends("SUBSCRIBE a")
}

// While an UNSUBSCRIBE and another SUBSCRIBE are on their way, the reply to the first SUBSCRIBE
// confirms nothing.
func TestOnlyTheLastReplyConfirms(t *testing.T) {
	c := newConversation(t)
	c.sends("SUBSCRIBE a")
	c.talk.leave("a", c.s)
	c.sends("UNSUBSCRIBE a")
	c.subscribe()
	c.sends("SUBSCRIBE a")
	c.hears("subscribe", "a", "1")
	c.is(false, "")
	c.hears("unsubscribe", "a", "0")
	c.is(false, "")
	c.hears("subscribe", "a", "1")
	c.is(true, "")
}

// A refusal answers the oldest command. A channel that was refused is asked for again after quiet.
func TestRefusedSubscription(t *testing.T) {
	c := newConversation(t)
	c.sends("SUBSCRIBE a")
	c.talk.hear(nil, redis.Error("NOPERM"), c.now)
	c.is(false, "")
	c.now = c.now.Add(quiet - 1)
	c.sends()
	c.now = c.now.Add(1)
	c.sends("SUBSCRIBE a", "PING")
	c.hears("subscribe", "a", "1")
	c.hears("pong", "")
	c.is(true, "")
	if p := c.talk.pulse(); !p.asked.IsZero() {
		t.Errorf("a command is without a reply since %v", p.asked)
	}
}

func TestSilentConnectionIsGivenUp(t *testing.T) {
	c := newConversation(t)
	c.sends("SUBSCRIBE a")
	c.now = c.now.Add(patience)
	if _, _, ok := c.talk.next(c.now); ok {
		t.Error("kept without an answer")
	}
}

// A connection that answers and brings no message is given up, but not again within the time of doubt.
func TestMuteConnectionIsGivenUp(t *testing.T) {
	c := newConversation(t)
	doubt := func(want bool) {
		t.Helper()
		c.talk.begin(c.now)
		c.sends("SUBSCRIBE a")
		c.hears("subscribe", "a", "1")
		c.talk.doubt("a", time.Minute, c.now)
		c.sends("PING")
		c.hears("pong", "")
		c.now = c.now.Add(patience)
		if _, _, ok := c.talk.next(c.now); ok == want {
			t.Errorf("at %v given up: %v, want %v", c.now.Sub(start), !ok, want)
		}
		c.talk.end()
	}
	doubt(true)
	doubt(false) // too soon
	c.now = c.now.Add(time.Minute)
	doubt(true)
	c.now = c.now.Add(time.Hour)
	c.talk.begin(c.now)
	c.sends("SUBSCRIBE a")
	c.hears("subscribe", "a", "1")
	c.talk.doubt("a", time.Minute, c.now)
	c.sends("PING")
	c.hears("message", "a", "late") // after all
	c.hears("pong", "")
	c.now = c.now.Add(patience)
	c.sends()
}

func TestManyTopics(t *testing.T) {
	c := newConversation(t)
	for i := range 100 {
		c.talk.listen(fmt.Sprint(i), new(listener))
	}
	commands, _, _ := c.talk.next(c.now)
	if len(commands) != 101 {
		t.Errorf("%d commands, want one a topic", len(commands))
	}
	if again, _, _ := c.talk.next(c.now); len(again) != 0 {
		t.Errorf("%d commands again", len(again))
	}
}
