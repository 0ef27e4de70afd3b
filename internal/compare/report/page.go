package report

import (
	"fmt"
	"strings"
)

// Fill replaces what stands between the markers of a Markdown page. A marker is a line
// with a comment: "compare: NAME" begins a part, and "compare: end" ends it. The names
// are machine, better, and those of the scenarios. Each must be there once.
func (r *Results) Fill(page []byte) ([]byte, error) {
	parts := map[string]string{"machine": r.Machine(), "better": r.Better()}
	for _, s := range scenarios {
		parts[s.name] = r.Tables(s.name)
	}
	var b strings.Builder
	inside := "" // the part whose old text is left out
	for line := range strings.Lines(string(page)) {
		name, ok := marker(line)
		switch {
		case !ok && inside == "":
			b.WriteString(line)
		case !ok:
		case name == "end" && inside == "":
			return nil, fmt.Errorf("an end marker without a beginning")
		case name == "end":
			inside = ""
			b.WriteString(line)
		case inside != "":
			return nil, fmt.Errorf("part %q has no end marker", inside)
		default:
			part, ok := parts[name]
			if !ok {
				return nil, fmt.Errorf("part %q is unknown or there twice", name)
			}
			delete(parts, name)
			inside = name
			b.WriteString(line + "\n" + strings.TrimRight(part, "\n") + "\n\n")
		}
	}
	if inside != "" {
		return nil, fmt.Errorf("part %q has no end marker", inside)
	}
	for name := range parts {
		return nil, fmt.Errorf("part %q is missing", name)
	}
	return []byte(b.String()), nil
}

// marker returns the name in a marker, and whether line is one.
func marker(line string) (string, bool) {
	s, ok := strings.CutPrefix(strings.TrimSpace(line), "<!-- compare: ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, " -->")
}

// Machine returns a list of where the results come from, and a table of the peers.
func (r *Results) Machine() string {
	var b strings.Builder
	fmt.Fprintf(&b, "- Machine: %s, %s, %s.\n", r.CPU, Count(r.Cores, "core"), r.System)
	fmt.Fprintf(&b, "- Date: %s, in %s: `%s`.\n", r.Date, Count(r.Rounds, "round"), r.Command)
	fmt.Fprintf(&b, "- Go %s, Redis %s.\n\n", r.Go, r.Redis)
	head(&b, "peer", "version", "a waiter learns that the lock is free by", "a holder is told of a loss by")
	for _, p := range r.Peers {
		version := p.Version
		if version == "" {
			version = "of this repository"
		}
		row(&b, p.Name, version, p.Waits, p.Tells)
	}
	return b.String()
}
