package history_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/redistest"
)

const fenceKey = "{" + lockKey + "}:fence"

// A view is what stands in Redis.
type view struct {
	value string        // of the lock key, "" for none
	left  time.Duration // until that expires; ages for never
	fence string
}

func (v view) String() string {
	if v.value == "" {
		return fmt.Sprintf("nobody, fence %q", v.fence)
	}
	return fmt.Sprintf("%s for %v, fence %q", v.value, v.left, v.fence)
}

// told is the remaining time as a client is told it.
func (v view) told() time.Duration {
	if v.left == time.Duration(ages) {
		return -time.Millisecond
	}
	return max(v.left.Truncate(time.Millisecond), time.Millisecond)
}

// number is the fence as a number.
func (v view) number() int64 {
	n, _ := strconv.ParseInt(v.fence, 10, 64)
	return n
}

// An event is one script that the server has run, or the key or its expiry that was removed.
type event struct {
	at            int64
	script        string // the name of its file; "remove", "persist"
	args          []string
	before, after view
	early         bool // it has released what a Do still worked under
}

func (e event) String() string {
	return fmt.Sprintf("%v: %s %q: %v => %v", time.Duration(e.at), e.script, e.args, e.before, e.after)
}

// A witness stands in front of a server and runs its scripts one at a time, with a
// look at the keys before and after each.
type witness struct {
	*history
	server *redistest.Embedded

	mu     sync.Mutex // held while a script runs
	mood   *rand.Rand
	inner  atomic.Pointer[server.Peer]
	events []event
	would  int64 // when the key would have expired whose expiry was removed last
}

func newWitness(t testing.TB, h *history, server *redistest.Embedded, seed uint64) *witness {
	w := &witness{history: h, server: server, mood: rand.New(rand.NewPCG(seed, 2000))}
	server.Server().SetPreHook(w.hook)
	return w
}

func (w *witness) view() view {
	value, _ := w.server.Get(lockKey)
	fence, _ := w.server.Get(fenceKey)
	left := w.server.TTL(lockKey)
	if value != "" && left == 0 {
		left = time.Duration(ages) // it has no expiry
	}
	return view{value, left, fence}
}

// hook runs a script in the place of the server. What it calls comes by again, and
// is the server's. Sometimes the key loses its expiry just before, and the reply is lost.
func (w *witness) hook(peer *server.Peer, cmd string, args ...string) bool {
	if len(args) < 2 || protocol.NameOf(args[0]) == "" || w.inner.Load() == peer {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := false
	if w.mood.IntN(200) == 0 || protocol.NameOf(args[0]) == "extend" && w.mood.IntN(3) == 0 {
		lost = w.persist() && w.mood.IntN(2) == 0
	}
	keys, _ := strconv.Atoi(args[1])
	e := event{at: w.now(), script: protocol.NameOf(args[0]), args: args[2+keys:], before: w.view()}
	untold := w.untold(e.before.number())
	var reply strings.Builder
	buffer := bufio.NewWriter(&reply)
	inner := server.NewPeer(buffer)
	w.inner.Store(inner)
	w.server.Server().Dispatch(inner, append([]string{cmd}, args...))
	buffer.Flush()
	e.after = w.view()
	e.early = untold && e.script == "release" && e.before.value != "" && e.after.value == ""
	if !strings.HasPrefix(reply.String(), "-") || e.after != e.before { // not a refusal, such as NOSCRIPT
		w.events = append(w.events, e)
	}
	if lost {
		peer.Close()
		return true
	}
	peer.WriteRaw(reply.String())
	return true
}

// remove deletes the key, or all that the server has of the lock.
func (w *witness) remove(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := op{action: remove, outcome: done, call: w.now()}
	e := event{at: o.call, script: "remove", before: w.view()}
	if e.before.value != "" {
		o.fence, o.left = e.before.number(), e.before.left
		if e.before.left == time.Duration(ages) {
			o.left = time.Duration(max(w.would-o.call, 0)) // what its holder may believe
		}
	}
	w.server.Del(lockKey)
	if all {
		w.server.Del(fenceKey)
	}
	e.after = w.view()
	w.events = append(w.events, e)
	w.add(o)
}

// persist removes the expiry of the key, as a person may by hand: the key does not
// expire before it would have. It reports whether there was one. w.mu is locked.
func (w *witness) persist() bool {
	e := event{at: w.now(), script: "persist", before: w.view()}
	if e.before.value == "" || e.before.left == time.Duration(ages) {
		return false
	}
	w.would = e.at + int64(e.before.left)
	w.server.Server().Dispatch(server.NewPeer(bufio.NewWriter(io.Discard)), []string{"PERSIST", lockKey})
	e.after = w.view()
	w.events = append(w.events, e)
	w.add(op{action: persist, outcome: done, call: e.at})
	return true
}

// judge fails t unless the events, in the order in which they were, are legal, and
// every change is what a script may do.
func (w *witness) judge(t *testing.T, name string) {
	t.Helper()
	model := lockModel(0)
	s := model.Init()
	ids := make(map[string]int) // every acquisition is a client of its own here
	id := func(value string) int {
		if ids[value] == 0 {
			ids[value] = len(ids) + 1
		}
		return ids[value]
	}
	for i, e := range w.events {
		if e.early {
			t.Errorf("%s: released before the context of its Do had ended: %v", name, e)
			return
		}
		for _, o := range e.ops(id) {
			o.call, o.ret = e.at, e.at
			ok, next := model.Step(s, o, nil)
			if !ok {
				before := "nothing"
				if i > 0 {
					before = w.events[i-1].String()
				}
				t.Errorf("%s: on the server, %v\nafter %s:\n%q in %s", name, e, before, o, model.DescribeState(s))
				return
			}
			s = next
		}
	}
}

// ops returns e as what it may do, between two looks at what there was and is.
func (e event) ops(id func(value string) int) []op {
	look := func(v view) op {
		if v.value == "" {
			return op{action: look, outcome: nobody}
		}
		return op{action: look, outcome: done, owner: id(v.value), fence: v.number(), left: v.told()}
	}
	does := func(a action, value string, what outcome) op {
		return op{action: a, client: id(value), hold: id(value), outcome: what}
	}
	ops := []op{look(e.before)}
	switch held := e.before.value; e.script {
	case "acquire":
		value := e.args[0]
		switch known := slices.Contains(e.args[1:], held); {
		case held != "" && known && e.after.value == held: // what it believes to hold
			ops = append(ops, does(acquire, held, mine))
		case held != "" && held != value && !known:
			ops = append(ops, does(acquire, value, other))
		default:
			if held != "" {
				ops = append(ops, does(release, held, done)) // adopted
			}
			o := does(acquire, value, done)
			o.d = millis(e.args[1])
			o.fence = e.after.number()
			ops = append(ops, o)
		}
	case "renew", "extend":
		a, what := renew, notHeld
		if e.script == "extend" {
			a = extend
		}
		if held == e.args[0] {
			what = done
		}
		o := does(a, e.args[0], what)
		o.d = millis(e.args[1])
		ops = append(ops, o)
	case "release":
		if held != "" && slices.Contains(e.args[1:], held) {
			ops = append(ops, does(release, held, done))
		}
	case "remove":
		ops = append(ops, op{action: remove, outcome: done})
	case "persist":
		ops = append(ops, op{action: persist, outcome: done})
	}
	return append(ops, look(e.after))
}

func millis(s string) time.Duration {
	ms, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(ms) * time.Millisecond
}

// agree fails t unless every result that a client was told is what the server did
// between its call and its return.
func (w *witness) agree(t *testing.T, name string, ops []op) {
	t.Helper()
	values := make(map[int]string)         // of acquisitions
	margins := make(map[int]time.Duration) // that a Do has promised
	for _, o := range ops {
		if o.outcome == unknown {
			continue
		}
		said := func(e event) bool {
			if e.before.value != e.after.value || e.before.value == "" {
				return false
			}
			return o.left == 0 || o.left == e.before.told()
		}
		var so func(e event) bool
		switch o.action {
		case acquire:
			so = func(e event) bool {
				if e.script != "acquire" || ownerOf(e.args[0]) != o.client {
					return false
				}
				switch o.outcome {
				case mine:
					return said(e) && e.before.value == values[o.hold]
				case other: // never by what it has acquired itself
					return said(e) && ownerOf(e.before.value) != o.client
				}
				if e.after.value != e.args[0] || millis(e.args[1]) != o.d || o.fence != 0 && e.after.fence != fmt.Sprint(o.fence) {
					return false
				}
				values[o.hold] = e.after.value
				if o.kept {
					margins[o.hold] = o.d / 10
				}
				return true
			}
		case renew, extend:
			if o.outcome == notHeld {
				if o.hold != 0 && w.throughout(values[o.hold], o.call, o.ret) {
					t.Errorf("%s: the server had its key all the time: %v", name, o)
				}
				continue
			}
			so = func(e event) bool {
				return e.script == o.action.String() && e.args[0] == values[o.hold] && e.before.value == e.args[0]
			}
		case release:
			if o.outcome == notHeld {
				if o.hold != 0 && w.throughout(values[o.hold], o.call, o.ret) {
					t.Errorf("%s: the server had its key all the time: %v", name, o)
				}
				continue
			}
			so = func(e event) bool {
				return e.script == "release" && ownerOf(e.before.value) == o.client && e.after.value == ""
			}
		case look:
			so = func(e event) bool {
				if e.script != "look" || o.outcome == nobody {
					return e.script == "look" && e.before.value == ""
				}
				return said(e) && ownerOf(e.before.value) == o.owner && e.before.fence == fmt.Sprint(o.fence)
			}
		case believe:
			if !w.standing(values[o.hold], o.call, margins[o.hold]) {
				t.Errorf("%s: at %v the server had less than %v for %v", name, time.Duration(o.call), margins[o.hold], o)
			}
			continue
		default:
			continue
		}
		during := func(e event) bool { return o.call <= e.at && e.at <= o.ret && so(e) }
		if !slices.ContainsFunc(w.events, during) {
			t.Errorf("%s: the server has done nothing between %v and %v that makes it %v",
				name, time.Duration(o.call), time.Duration(o.ret), o)
		}
	}
}

// throughout reports whether the key had value from one moment to another.
func (w *witness) throughout(value string, from, to int64) bool {
	had, until := "", int64(0)
	for _, e := range w.events {
		if e.at > to {
			break
		}
		if e.at >= from && (had != value || until <= from || e.before.value != value) {
			return false
		}
		had, until = e.after.value, e.at+int64(e.after.left)
	}
	return had == value && until > to
}

// standing reports whether the key had value at a moment, and for at least margin
// from then on.
func (w *witness) standing(value string, at int64, margin time.Duration) bool {
	var last event
	for _, e := range w.events {
		stood := func(v view, since int64) bool { return v.value == value && since+int64(v.left) >= at+int64(margin) }
		if e.at == at && (stood(e.before, at) || stood(e.after, at)) {
			return true // whichever came first
		}
		if e.at > at {
			break
		}
		last = e
	}
	return last.after.value == value && last.at+int64(last.after.left) >= at+int64(margin)
}

// ownerOf returns the number of the client that a value of the lock key names.
func ownerOf(value string) int {
	_, owner, _ := strings.Cut(value, ":c")
	n, _ := strconv.Atoi(owner)
	return n
}
