package locktest

import (
	"slices"
	"strconv"
	"strings"

	"example.com/setlock/internal/protocol"
)

// A request has a name in this package. For an EVALSHA or EVAL it is the name of the script, such as
// "renew". For every other request it is the command, such as "SUBSCRIBE".

// Scripts are the names of all scripts.
var Scripts = []string{"acquire", "renew", "extend", "release", "look"}

// nameOf returns the name of a request with these parts.
func nameOf(command string, args ...string) string {
	command = strings.ToUpper(command)
	if (command == "EVALSHA" || command == "EVAL") && len(args) > 0 {
		if script := protocol.NameOf(args[0]); script != "" {
			return script
		}
	}
	return command
}

// Sends returns a match for [redistest.Network.Next]: it accepts the requests named.
func Sends(names ...string) func(request []byte) bool {
	return func(request []byte) bool {
		return slices.ContainsFunc(parse(string(request)), func(parts []string) bool {
			return len(parts) > 0 && slices.Contains(names, nameOf(parts[0], parts[1:]...))
		})
	}
}

// Runs reports whether a command with args, as redigo takes them, is the request named.
func Runs(name, command string, args ...any) bool {
	if len(args) == 0 {
		return nameOf(command) == name
	}
	first, _ := args[0].(string)
	return nameOf(command, first) == name
}

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
