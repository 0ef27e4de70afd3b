package protocol

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"slices"
)

// A script is a Lua script. The header of its file documents its keys, its arguments and
// its replies.
type script struct {
	name string // of its file, without .lua

	// The source, its SHA1 hash and the number of keys, as arguments. They are converted
	// once.
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
	renew   = newScript("renew", 1, renewSource)
	extend  = newScript("extend", 2, extendSource)
	release = newScript("release", 1, releaseSource)
	look    = newScript("look", 2, lookSource)

	// renewBoth is renew with the fence key.
	renewBoth = &script{name: renew.name, source: renew.source, hash: renew.hash, keys: 2}

	scripts = []*script{acquire, renew, extend, release, look}
)

func newScript(name string, keys int, source string) *script {
	hash := sha1.Sum([]byte(source))
	return &script{name: name, source: source, hash: hex.EncodeToString(hash[:]), keys: keys}
}

// NameOf returns the name of the script with this hash, an argument of EVALSHA, or with
// this source, an argument of EVAL: acquire, renew, extend, release or look. For anything
// else it returns "".
func NameOf(hashOrSource string) string {
	for _, s := range scripts {
		if hashOrSource == s.hash || hashOrSource == s.source {
			return s.name
		}
	}
	return ""
}

// A Command is a Redis command with its arguments. The arguments must not be changed.
type Command struct {
	Name   string
	Args   []any
	script *script // nil for a command that does not run a script
}

// command returns the command that runs s on a server that has s in its cache. It has room for
// one more argument, because most releases add one value.
func (s *script) command(args ...any) Command {
	all := append(make([]any, 0, 2+len(args)+1), s.hash, s.keys)
	return Command{Name: "EVALSHA", Args: append(all, args...), script: s}
}

// WithSource returns c for a server that may not have the script in its cache.
func (c Command) WithSource() Command {
	if c.script == nil {
		return c
	}
	args := slices.Clone(c.Args)
	args[0] = c.script.source
	return Command{Name: "EVAL", Args: args}
}
