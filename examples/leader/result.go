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

// write writes a file, wholly or not at all. It follows a link. It does not replace what is no regular
// file, such as a pipe or a device, but writes to it.
func write(name string, data []byte) error {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	if special(name) {
		return os.WriteFile(name, data, 0o644)
	}
	f, err := createBeside(name)
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

// tryWrite returns why write would fail, as far as that is known before.
func tryWrite(name string) error {
	if special(name) {
		return nil
	}
	f, err := createBeside(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// special reports whether name exists and is no regular file.
func special(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular()
}

// createBeside creates a file in the directory of name. Its error names this directory.
func createBeside(name string) (*os.File, error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+"-*")
	var cause *os.PathError
	if errors.As(err, &cause) {
		err = fmt.Errorf("cannot create a file in %s: %w", dir, cause.Err)
	}
	return f, err
}
