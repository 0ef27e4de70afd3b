package history_test

import (
	"cmp"
	"context"
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
	terms  map[int64]context.Context // of the functions of Dos, by their fences
}

func newHistory() *history {
	return &history{start: time.Now(), terms: make(map[int64]context.Context)}
}

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

// works notes that the function of a Do with this fence runs, and its context.
func (h *history) works(ctx context.Context, fence int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.terms[fence] = ctx
}

// untold reports whether the function of the Do with this fence may go on.
func (h *history) untold(fence int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx := h.terms[fence]
	return ctx != nil && ctx.Err() == nil
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

// end returns the history as it is checked.
func (h *history) end() []op {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	var ops []op
	for _, o := range h.ops {
		o.ret = min(o.ret, now)
		ops = append(ops, *o)
	}
	slices.SortStableFunc(ops, func(a, b op) int { return cmp.Compare(a.call, b.call) })
	return excuse(ops)
}

// excuse returns ops without what a client believes of a hold while it need not know
// that its key was removed: for as long as the key had to live; of a Do, until a
// tenth of the lease before that, and for 0.9 lease at most.
func excuse(ops []op) []op {
	leases := make(map[int]int64) // of Dos
	var removals []op
	for _, o := range ops {
		switch {
		case o.action == acquire && o.outcome == done && o.kept:
			leases[o.hold] = int64(o.d)
		case o.action == remove && o.fence != 0:
			removals = append(removals, o)
		}
	}
	return slices.DeleteFunc(slices.Clone(ops), func(o op) bool {
		return o.action == believe && slices.ContainsFunc(removals, func(r op) bool {
			left := int64(r.left)
			if lease, ok := leases[o.hold]; ok {
				left = min(left, lease) - lease/10
			}
			return r.fence == o.fence && r.call <= o.ret && o.call <= r.ret+left
		})
	})
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
