package history_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
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
