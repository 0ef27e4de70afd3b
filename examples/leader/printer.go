package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"example.com/setlock/examples/leader/internal/timeline"
)

// A printer writes what happens, as lines for people or as JSON. It writes each line in one call of
// Write, so that processes can share an output.
type printer struct {
	mu     sync.Mutex
	w      io.Writer // nil: nothing is printed
	json   bool
	events io.Writer // receives each event as JSON, for the parent process; nil: nobody does
	err    error     // of the first write to w that failed
}

// failure returns why something could not be printed, if there was something.
func (p *printer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// line prints one line of words: the time, who, and the formatted text.
func (p *printer) line(who, format string, args ...any) {
	p.tell(timeline.Event{Who: who, Kind: timeline.Note, Text: fmt.Sprintf(format, args...)})
}

// tell prints e, and returns it as it was printed: with its time, in plain text and without secrets.
func (p *printer) tell(e timeline.Event) timeline.Event {
	e = finished(e)
	p.write(e, true)
	return e
}

// record records e. Its words are not for people: another event tells them.
func (p *printer) record(e timeline.Event) timeline.Event {
	e = finished(e)
	p.write(e, false)
	return e
}

// finished returns e with a time, in plain text and without secrets.
func finished(e timeline.Event) timeline.Event {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.Round(0) // times of other processes have no monotonic clock either
	e.Who, e.Text = plain(e.Who), plain(redact(e.Text))
	return e
}

// plain returns s as one line that changes nothing in a terminal or a picture: any program that reaches
// Redis can choose the name of a leader.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, s)
}

func (p *printer) write(e timeline.Event, words bool) {
	object, err := json.Marshal(e)
	if err != nil {
		panic(err) // no Event has a value that JSON lacks
	}
	object = append(object, '\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.events != nil {
		p.events.Write(object) // fails when the parent has died; standard input tells that
	}
	switch {
	case p.w == nil:
	case p.json:
		_, err = p.w.Write(object)
	case words:
		_, err = fmt.Fprintf(p.w, "%s  %-4s  %s\n", e.Time.Format("15:04:05.000"), e.Who, e.Text)
	}
	if p.err == nil {
		p.err = err
	}
}
