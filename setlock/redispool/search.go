package redispool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

const (
	// headStart is for how long the server that helped last is asked alone.
	headStart = 20 * time.Millisecond
	// askAgain is how long a search waits for servers that hang before it asks the others
	// again. One of them may know a new primary by then.
	askAgain = 250 * time.Millisecond
)

// A search finds the server that serves, by asking guides. It asks all guides at once, so
// that a guide that hangs costs nothing.
type search struct {
	place   place
	timeout time.Duration // of one dial

	mu   sync.Mutex
	last string // the guide that led to the server of the last dial; "" before the first
}

// A place is what a search searches. Its methods are called by several goroutines at a time.
type place interface {
	// what names what is looked for. It is "" if there is only one server, so that no search is needed.
	what() string
	// guides returns the addresses of the servers that know where the one is that serves.
	guides() []string
	// visit connects to a target and asks it. It returns when ctx ends.
	visit(ctx context.Context, t target) (answer, error)
}

// A target is a server that a search visits.
type target struct {
	addr  string
	named bool // a guide has named it; otherwise it is a guide
}

// compare puts guides first.
func (t target) compare(u target) int {
	switch {
	case t.named == u.named:
		return strings.Compare(t.addr, u.addr)
	case u.named:
		return -1
	}
	return 1
}

// An answer is what a visit has found.
type answer struct {
	conn redis.Conn // a connection to the server that serves; nil if this is not the one
	next []target   // servers that may be the one
}

// A visited is a visit that has ended.
type visited struct {
	target
	guide string // the guide that led to target: the one that named it, or target itself
	answer
	err error
}

// dial returns a connection to the server that serves.
func (s *search) dial(ctx context.Context) (redis.Conn, error) {
	ctx, cancel := clock.WithTimeout(ctx, s.timeout)
	defer cancel() // ends the visits that are under way
	results := make(chan visited)
	failures := make(map[target]error)
	open := make(map[target]bool) // true while the visit is under way, false when it has ended
	pending := 0                  // visits that are under way
	visit := func(t target, guide string) {
		if _, ok := open[t]; ok {
			return
		}
		if !t.named {
			guide = t.addr
		}
		open[t] = true
		pending++
		go func() { // ends when ctx ends, and so soon after dial has returned
			v := visited{target: t, guide: guide}
			v.answer, v.err = s.place.visit(ctx, t)
			select {
			case results <- v:
			case <-ctx.Done():
				if v.conn != nil {
					v.conn.Close()
				}
			}
		}()
	}
	visitAll := func() {
		for _, addr := range s.place.guides() {
			visit(target{addr: addr}, "")
		}
	}

	c := clock.FromContext(ctx)
	alone, again := c.NewTimer(headStart), c.NewTimer(askAgain)
	defer alone.Stop()
	defer again.Stop()
	if first := s.first(); first != "" {
		visit(target{addr: first}, "")
	} else {
		visitAll()
	}
	for {
		select {
		case v := <-results:
			if v.conn != nil {
				s.remember(v.guide)
				return v.conn, nil
			}
			pending--
			open[v.target] = false
			if v.err != nil {
				failures[v.target] = v.err
			}
			for _, t := range v.next {
				visit(t, v.guide)
			}
			if pending == 0 {
				visitAll() // those that were not asked because of the head start
			}
			if pending == 0 {
				return nil, s.failure(failures)
			}
		case <-alone.C():
			visitAll()
		case <-again.C():
			for t, underWay := range open {
				if !underWay {
					delete(open, t)
				}
			}
			visitAll()
			again.Reset(askAgain)
		case <-ctx.Done():
			for t, underWay := range open {
				if underWay {
					failures[t] = fmt.Errorf("%s: no answer: %w", t.addr, context.Cause(ctx))
				}
			}
			return nil, s.failure(failures)
		}
	}
}

// first returns the guide that is asked first, or "".
func (s *search) first() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// remember makes guide the one that is asked first.
func (s *search) remember(guide string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = guide
}

// failure returns the error of a search that has found nothing.
func (s *search) failure(failures map[target]error) error {
	f := &searchError{what: s.place.what()}
	for _, t := range slices.SortedFunc(maps.Keys(failures), target.compare) { // the same text every time
		f.causes = append(f.causes, failures[t])
	}
	return f
}

// A searchError says why each of the servers that a search visited is not the one.
type searchError struct {
	what   string
	causes []error
}

func (e *searchError) Error() string {
	text := []string{"redispool"}
	if e.what != "" {
		text = append(text, "found no "+e.what)
	}
	if len(e.causes) > 0 {
		var causes []string
		for _, cause := range e.causes {
			causes = append(causes, cause.Error())
		}
		text = append(text, strings.Join(causes, "; "))
	}
	return strings.Join(text, ": ")
}

func (e *searchError) Unwrap() []error { return e.causes }
