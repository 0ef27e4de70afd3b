package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/report"
)

func TestParseOptions(t *testing.T) {
	o, err := ParseOptions(nil, io.Discard)
	if err != nil || len(o.Scenarios) != 5 || len(o.Peers) != len(peer.All()) || o.Rounds != 3 || !slices.Equal(o.Size.Locks, []int{1000, 10_000}) {
		t.Errorf("without flags: got %+v, %v", o, err)
	}
	o, err = ParseOptions(strings.Fields("-scenarios loss,crash -peers setlock,etcd -locks 20,10 -rounds 2 -out x -svg y -page z"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Scenarios) != 2 || o.Scenarios[0].Name != report.Crash || o.Scenarios[1].Name != report.Loss {
		t.Errorf("got scenarios %v", o.Scenarios)
	}
	if len(o.Peers) != 2 || o.Peers[0].Name != "etcd" || o.Peers[1].Name != "setlock" {
		t.Errorf("got peers %v", o.Peers)
	}
	if !slices.Equal(o.Size.Locks, []int{10, 20}) || o.Rounds != 2 || o.Out != "x" || o.SVG != "y" || o.Page != "z" {
		t.Errorf("got %+v", o)
	}
	if o, err := ParseOptions([]string{"-quick"}, io.Discard); err != nil || o.Rounds != 1 {
		t.Errorf("-quick: got %d rounds, %v", o.Rounds, err)
	}
	if o, err := ParseOptions([]string{"-quick", "-rounds", "2"}, io.Discard); err != nil || o.Rounds != 2 {
		t.Errorf("-quick -rounds 2: got %d rounds, %v", o.Rounds, err)
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-rounds 0":           "must be 1 or more",
		"-rounds x":           "invalid value",
		"-scenarios A":        `"A" is none of hand-over, crash`,
		"-scenarios crash,":   `"" is none of`,
		"-peers etc":          `"etc" is none of floor, rueidislock`,
		"-locks ten":          `"ten" is not a number`,
		"-locks 0":            "is not between",
		"-locks 1000000":      "is not between",
		"-locks 5,5":          "given twice",
		"-locks= -quick":      "is not a number",
		"more":                `unexpected argument "more"`,
		"-from f -rounds 1":   "-rounds has no effect",
		"-from f -out d":      "-out has no effect",
		"-unknown":            "not defined",
		"-from /no/such/file": "",
	} {
		_, err := ParseOptions(strings.Fields(args), io.Discard)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", args, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", args, err, want)
		}
	}
	var help bytes.Buffer
	if _, err := ParseOptions([]string{"-help"}, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-scenarios") {
		t.Errorf("-help: got %v and %s", err, &help)
	}
}
