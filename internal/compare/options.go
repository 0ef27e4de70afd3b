package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/scenario"
)

// Options are what the command line says.
type Options struct {
	Scenarios []scenario.Scenario
	Peers     []peer.Peer
	Size      scenario.Size
	Rounds    int
	Out       string // folder for results.json; empty: a new one
	From      string // file of results that replaces the measurement; empty: measure
	SVG       string // file of the picture; empty: none
	Page      string // Markdown file with tables between markers; empty: none
	Command   string // what was run
}

// mostLocks is the largest number of locks that one process may be told to hold.
const mostLocks = 100_000

// ParseOptions reads the command line. What is wrong with it, and the help, goes to
// stderr. For -help the error is flag.ErrHelp.
func ParseOptions(args []string, stderr io.Writer) (Options, error) {
	var scenarios, peers []string
	for _, s := range scenario.All() {
		scenarios = append(scenarios, s.Name)
	}
	for _, p := range peer.All() {
		peers = append(peers, p.Name)
	}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	var (
		onlyScenarios = f.String("scenarios", "", "comma-separated; default: "+strings.Join(scenarios, ","))
		onlyPeers     = f.String("peers", "", "comma-separated; default: "+strings.Join(peers, ","))
		locks         = f.String("locks", "", "how many locks one process holds, comma-separated (default 1000,10000)")
		rounds        = f.Int("rounds", 3, "how often everything is measured")
		quick         = f.Bool("quick", false, "one small round, which shows that all works; its figures mean little")
		out           = f.String("out", "", "folder for results.json (default: a new one)")
		from          = f.String("from", "", "file of results to use; nothing is measured")
		svg           = f.String("svg", "", "file for a picture of the results")
		page          = f.String("page", "", "Markdown file in which to replace the tables between the markers")
	)
	if err := f.Parse(args); err != nil {
		return Options{}, err
	}
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o := Options{
		Size: scenario.Full(), Rounds: *rounds, Out: *out, From: *from, SVG: *svg, Page: *page,
		Command: strings.Join(append([]string{"go run ."}, args...), " "),
	}
	if *quick {
		o.Size = scenario.Quick()
		if !given["rounds"] {
			o.Rounds = 1
		}
	}
	var err error
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.Rounds < 1 {
		return o, fmt.Errorf("-rounds is %d: it must be 1 or more", o.Rounds)
	}
	if o.Scenarios, err = choose("-scenarios", *onlyScenarios, scenario.All(), func(s scenario.Scenario) string { return s.Name }); err != nil {
		return o, err
	}
	if o.Peers, err = choose("-peers", *onlyPeers, peer.All(), func(p peer.Peer) string { return p.Name }); err != nil {
		return o, err
	}
	if given["locks"] {
		if o.Size.Locks, err = numbers(*locks); err != nil {
			return o, fmt.Errorf("-locks: %w", err)
		}
	}
	if o.From != "" {
		for _, name := range []string{"scenarios", "peers", "locks", "rounds", "quick", "out"} {
			if given[name] {
				return o, fmt.Errorf("-%s has no effect with -from, which measures nothing", name)
			}
		}
	}
	return o, nil
}

// choose returns those of all whose names are in list, in the order of all. An empty
// list is all.
func choose[T any](option, list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	var chosen []T
	var names []string
	for _, t := range all {
		names = append(names, name(t))
		if slices.Contains(wanted, name(t)) {
			chosen = append(chosen, t)
		}
	}
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("%s: %q is none of %s", option, w, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

// numbers reads comma-separated numbers of locks, and returns them in order.
func numbers(list string) ([]int, error) {
	var ns []int
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", field)
		}
		if n < 1 || n > mostLocks {
			return nil, fmt.Errorf("%d is not between 1 and %d", n, mostLocks)
		}
		ns = append(ns, n)
	}
	slices.Sort(ns)
	if len(slices.Compact(ns)) < len(ns) {
		return nil, errors.New("a number is given twice")
	}
	return ns, nil
}
