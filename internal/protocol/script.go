package protocol

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"slices"
)

// A script is a Lua script. Its file documents its keys, arguments and replies.
type script struct {
	name string // of its file, without .lua

	// Boxed once, because they are arguments of every command.
	source, hash, keys any
}

var (
	//go:embed acquire.lua
	acquireSource string
	//go:embed renew.lua
	renewSource string
	//go:embed extend.lua
	extendSource string
	//go:embed release.lua
	releaseSource string
	//go:embed look.lua
	lookSource string

	acquire = newScript("acquire", 2, acquireSource)
	renew   = newScript("renew", 2, renewSource)
	extend  = newScript("extend", 2, extendSource)
	release = newScript("release", 1, releaseSource)
	look    = newScript("look", 2, lookSource)

	scripts = []*script{acquire, renew, extend, release, look}
)

func newScript(name string, keys int, source string) *script {
	hash := sha1.Sum([]byte(source))
	return &script{name: name, source: source, hash: hex.EncodeToString(hash[:]), keys: keys}
}

// NameOf returns the name of the script that EVALSHA runs with a hash, or EVAL with a
// source: acquire, renew, extend, release or look. For any other it returns "".
func NameOf(hashOrSource string) string {
	for _, s := range scripts {
		if hashOrSource == s.hash || hashOrSource == s.source {
			return s.name
		}
	}
	return ""
}

// A Command is a command of Redis with its arguments. It is not changed once it is made.
type Command struct {
	Name   string
	Args   []any
	script *script // the script that EVALSHA runs; nil for other commands
}

// command returns the command that runs s on a server that knows it.
func (s *script) command(args ...any) Command {
	all := make([]any, 0, 2+len(args))
	return Command{Name: "EVALSHA", Args: append(append(all, s.hash, s.keys), args...), script: s}
}

// WithSource returns c for a server that may not know the script.
func (c Command) WithSource() Command {
	if c.script == nil {
		return c
	}
	args := slices.Clone(c.Args)
	args[0] = c.script.source
	return Command{Name: "EVAL", Args: args}
}
