package history_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTimeout bounds one check: one that takes longer has failed.
const checkTimeout = time.Minute

// A history is what the clients have seen.
type history struct {
	start time.Time

	mu     sync.Mutex
	ops    []*op
	holds  int
	values int
}

func newHistory() *history { return &history{start: time.Now()} }

// now is the time since the history began, by the clock that the server has, too.
func (h *history) now() int64 { return h.at(time.Now()) }

func (h *history) at(t time.Time) int64 { return t.UnixNano() - h.start.UnixNano() }

// name returns a name for an acquisition.
func (h *history) name() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds++
	return h.holds
}

// fresh returns a value that nobody has written.
func (h *history) fresh() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values++
	return h.values
}

// add notes o, which has ended now. What has an unknown outcome, may happen later.
func (h *history) add(o op) {
	o.ret = h.now()
	if o.outcome == unknown && o.action != finish {
		o.ret = forever
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, &o)
}

// recorded returns how many operations there are.
func (h *history) recorded() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// settle notes that nothing is on its way any more of the first n operations, those of
// client, or of all where that is 0.
func (h *history) settle(client, n int) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops[:n] {
		if o.ret == forever && (client == 0 || o.client == client) {
			o.ret = now
		}
	}
}

// end returns the history as it is checked. A client that does not know yet that its key was
// removed may believe what it likes.
func (h *history) end() []op {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	acquired := make(map[int]int64)
	var removed []int64
	for _, o := range h.ops {
		o.ret = min(o.ret, now)
		switch o.action {
		case acquire:
			if o.outcome == done {
				acquired[o.hold] = o.call
			}
		case remove:
			removed = append(removed, o.ret)
		}
	}
	var ops []op
	for _, o := range h.ops {
		excused := func(at int64) bool { return o.action == believe && acquired[o.hold] <= at && at <= o.ret }
		if !slices.ContainsFunc(removed, excused) {
			ops = append(ops, *o)
		}
	}
	slices.SortStableFunc(ops, func(a, b op) int { return cmp.Compare(a.call, b.call) })
	return ops
}

func operations(ops []op) []porcupine.Operation {
	var history []porcupine.Operation
	for _, o := range ops {
		history = append(history, porcupine.Operation{ClientId: o.client, Input: o, Call: o.call, Return: o.ret})
	}
	return history
}

// check fails t unless ops are linearizable, and leaves a picture of what is not.
func check(t *testing.T, name string, ops []op, tolerance slack) {
	t.Helper()
	model, history := lockModel(tolerance), operations(ops)
	result := porcupine.CheckOperationsTimeout(model, history, checkTimeout)
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Unknown:
		t.Errorf("%s: no answer within %v whether %d operations are linearizable", name, checkTimeout, len(ops))
		return
	}
	t.Errorf("%s: not linearizable: %s", name, picture(model, history, name))
}

// picture writes what porcupine shows of a history into a file that outlives the
// test, and the operations as text beside it.
func picture(model porcupine.Model, history []porcupine.Operation, name string) string {
	_, info := porcupine.CheckOperationsVerbose(model, history, checkTimeout)
	file, err := os.CreateTemp("", "setlock-history-"+strings.ReplaceAll(name, " ", "-")+"-*.html")
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if err := porcupine.Visualize(model, info, file); err != nil {
		return err.Error()
	}
	path := file.Name()
	if err := os.WriteFile(strings.TrimSuffix(path, ".html")+".txt", []byte(story(model, history, info)), 0o600); err != nil {
		return err.Error()
	}
	return "see " + path + ", and .txt beside it"
}

// story tells how far the best linearizations of a history come, with the states that
// are possible, and what is left.
func story(model porcupine.Model, history []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var text strings.Builder
	line := func(o porcupine.Operation) {
		fmt.Fprintf(&text, "%v to %v: %v\n", time.Duration(o.Call), time.Duration(o.Return), o.Input)
	}
	for i, part := range info.PartialLinearizationsOperations() {
		whole := partition(history)[i]
		var best []porcupine.Operation
		for _, order := range part {
			if len(order) > len(best) {
				best = order
			}
		}
		fmt.Fprintf(&text, "of %d operations, %d in an order:\n", len(whole), len(best))
		if len(best) == len(whole) {
			continue
		}
		s := model.Init()
		for _, o := range best {
			line(o)
			_, s = model.Step(s, o.Input, nil)
			fmt.Fprintf(&text, "    %s\n", model.DescribeState(s))
		}
		text.WriteString("and then:\n")
		for _, o := range whole {
			if !slices.ContainsFunc(best, func(b porcupine.Operation) bool { return b.Input == o.Input }) {
				line(o)
			}
		}
	}
	return text.String()
}
