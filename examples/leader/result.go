package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"example.com/setlock/examples/leader/internal/timeline"
)

// errTwoLed is the result of a run in which two replicas led at the same time.
var errTwoLed = errors.New("two replicas led at the same time")

// result prints the timeline and the verdict, and writes the picture. It returns why the run failed, if it did.
func (d *demo) result() error {
	if !d.json && (d.script != "" || d.line.Fits(d.until)) {
		fmt.Fprintf(d.out.w, "\n%s\n", d.line.Text(d.until))
	}
	v := d.line.Judge(d.until)
	d.tell(timeline.Event{Who: demoName, Kind: timeline.Judgment, Text: "verdict: " + v.String(), Verdict: &v})
	if d.svg != "" {
		if err := write(d.svg, d.line.SVG(d.until)); err != nil {
			d.failed = errors.Join(d.failed, fmt.Errorf("-svg: %w", err))
		} else {
			d.say("wrote %s", d.svg)
		}
	}
	if v.Overlaps > 0 {
		return errors.Join(d.failed, errTwoLed)
	}
	return d.failed
}

// write writes a file, wholly or not at all.
func write(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
