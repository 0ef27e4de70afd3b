package history_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

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
