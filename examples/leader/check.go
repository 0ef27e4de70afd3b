package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/setlock/setlock"
)

// rightOnes has an example for each flag that can be wrong.
var rightOnes = map[string]string{
	"redis":  "-redis localhost:6379",
	"id":     "-redis localhost:6379 -id a",
	"key":    "-key leader",
	"lease":  "-lease 2s",
	"http":   "-http localhost:8080",
	"for":    "-for 30s",
	"stdin":  "-redis localhost:6379 -stdin",
	"events": "-redis localhost:6379 -events",
	"json":   "-json",
	"script": "-script failover",
	"svg":    "-svg leader.svg",
	"grace":  "-redis localhost:6379 -grace 10s -- sleep 60",
	"-":      "-redis localhost:6379 -key nightly -- sh -c 'echo $SETLOCK_FENCE'",
}

// flagIn finds the flag that an error is about.
var flagIn = regexp.MustCompile(`(?:^|flag |for |argument: )-(-|[a-z]+)`)

// withExample adds an example of a right flag to an error about a wrong one.
func withExample(err error) error {
	if errors.As(err, new(commandError)) {
		return err
	}
	if m := flagIn.FindStringSubmatch(err.Error()); m != nil && rightOnes[m[1]] != "" {
		return fmt.Errorf("%w; for example: %s", err, rightOnes[m[1]])
	}
	return fmt.Errorf("%w (-help lists the flags)", err)
}

// ofReplica and ofDemo are the flags that only a replica has, and only the demo.
var (
	ofReplica = []string{"id", "stdin", "events"}
	ofDemo    = []string{"script", "svg"}
	// notOfCommand are the flags that make no sense with a command.
	notOfCommand = []string{"http", "stdin", "events", "json"}
)

// check returns what is wrong with the flags.
func (c *config) check(f *flag.FlagSet, given map[string]bool) error {
	for _, name := range ofReplica {
		if given[name] && !given["redis"] {
			return fmt.Errorf("-%s needs -redis", name)
		}
	}
	for _, name := range ofDemo {
		if given[name] && given["redis"] {
			return fmt.Errorf("-%s is for the demo, without -redis", name)
		}
	}
	if err := c.checkCommand(given); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", redact(f.Arg(0)))
	case c.key == "":
		return errors.New("-key is empty")
	case given["lease"] && c.lease < setlock.MinLease:
		return fmt.Errorf("-lease %v is less than %v", c.lease, setlock.MinLease)
	case c.lease > setlock.MaxLease:
		return fmt.Errorf("-lease %v is more than %v", c.lease, setlock.MaxLease)
	case c.limit < 0:
		return fmt.Errorf("-for %v is negative", c.limit)
	case given["script"] && !slices.Contains(storyNames(), c.script):
		return fmt.Errorf("-script %q is none of %s", redact(c.script), strings.Join(storyNames(), ", "))
	case given["http"] && c.script != "":
		return errors.New("-http is not for a story")
	case given["http"] && !given["redis"] && !loopback(c.http):
		return fmt.Errorf("-http %s is no address of the loopback: the page has buttons that kill", redact(c.http))
	case given["svg"]:
		return checkFile(c.svg)
	}
	return nil
}

// checkCommand returns what is wrong with the command, or with flags because there is one or none.
func (c *config) checkCommand(given map[string]bool) error {
	if c.command == nil {
		if given["grace"] {
			return errors.New("-grace needs a command")
		}
		return nil
	}
	for _, name := range notOfCommand {
		if given[name] {
			return fmt.Errorf("-%s is not for a command", name)
		}
	}
	switch {
	case len(c.command) == 0:
		return errors.New("-- is not followed by a command")
	case !given["redis"]:
		return errors.New("-- and a command need -redis")
	case c.grace < 0:
		return fmt.Errorf("-grace %v is negative", c.grace)
	}
	return lookUp(c.command[0])
}

// A commandError says why a command cannot be run. No flag is wrong.
type commandError struct{ error }

// lookUp returns why there is no command of this name.
func lookUp(name string) error {
	_, err := exec.LookPath(name)
	var cause *exec.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return commandError{fmt.Errorf("the command %q is not on the PATH", name)}
	case errors.As(err, &cause):
		err = cause.Err // without the name, which is quoted here
	}
	return commandError{fmt.Errorf("the command %q cannot be run: %w", name, err)}
}

// loopback reports whether addr is a port on the loopback.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// checkFile returns why the picture cannot be written to this file, as far as that is known before.
func checkFile(name string) error {
	if info, err := os.Stat(name); name == "" || err == nil && info.IsDir() {
		return fmt.Errorf("-svg %q is no name of a file", name)
	}
	if info, err := os.Stat(filepath.Dir(name)); err != nil || !info.IsDir() {
		return fmt.Errorf("-svg %q is in no directory that exists", name)
	}
	return nil
}

// replica checks the flags that only a replica has, and sets the fields that follow from them.
func (c *config) replica(given map[string]bool) (err error) {
	if given["id"] && c.id == "" {
		return errors.New("-id is empty")
	}
	if given["http"] && c.http == "" {
		return errors.New("-http is empty")
	}
	if c.id == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.id = host + ":" + strconv.Itoa(os.Getpid())
	}
	if c.server, err = parseRedis(c.redis); err != nil {
		return fmt.Errorf("-redis: %w", err)
	}
	if !c.events {
		// In the demo, a gate is before the Redis. The embedded Redis would answer as a node of a
		// Cluster which knows its own address, and the replica would go there.
		c.server.Key = c.key
	}
	return nil
}
