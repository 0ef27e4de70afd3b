package locktest

import (
	"strconv"
	"strings"
)

// parse returns the parts of each request in what a client sends. It ends with the first
// part that is not there in full.
func parse(sent string) [][]string {
	var requests [][]string
	number := func(prefix string) (n int, ok bool) {
		line, rest, found := strings.Cut(sent, "\r\n")
		digits, is := strings.CutPrefix(line, prefix)
		n, err := strconv.Atoi(digits)
		if !found || !is || err != nil {
			return 0, false
		}
		sent = rest
		return n, true
	}
	for {
		n, ok := number("*")
		if !ok {
			return requests
		}
		var parts []string
		for range n {
			size, ok := number("$")
			if !ok || size < 0 || len(sent) < size+len("\r\n") {
				return append(requests, parts)
			}
			parts = append(parts, sent[:size])
			sent = sent[size+len("\r\n"):]
		}
		requests = append(requests, parts)
	}
}
