package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"example.com/setlock/setlock/redispool"
)

const (
	// demoLease is short, because nobody leads for this time after a kill.
	demoLease = 2 * time.Second
	// commandGrace is long enough for most commands.
	commandGrace = 10 * time.Second
	// pageAddr is where the page of the demo is: on a free port.
	pageAddr = "127.0.0.1:0"
)

// A config is the values of the flags, and what follows from them.
type config struct {
	redis  string        // the flag as given
	id     string        // the name of this replica; "" in the demo
	key    string        // the key of the lock
	lease  time.Duration // 0: the default of a Lock
	http   string        // the address to listen on; "" for none, which only a replica can have
	limit  time.Duration // when to end; 0 for never
	stdin  bool          // end when standard input ends
	json   bool          // print objects instead of lines
	svg    string        // the file for the timeline as a picture; "" for none
	script string        // the story to tell; "" for none

	command []string      // to run while leading; nil: none
	grace   time.Duration // for which a command may run on after SIGTERM

	events bool // write events to standard error, for the parent process

	server *redispool.Config // where Redis is; nil in the demo
}

func flags(c *config) *flag.FlagSet {
	f := flag.NewFlagSet("leader", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed by run, in one line
	f.StringVar(&c.redis, "redis", "", "run one replica on this Redis: `host:port`, a URL as for package redispool, or REDIS_URL for the environment variable")
	f.StringVar(&c.id, "id", "", "with -redis: the `name` of this replica (default host:pid)")
	f.StringVar(&c.key, "key", "leader", "the `key` of the lock; replicas with the same one elect one leader")
	f.DurationVar(&c.lease, "lease", 0, "`how long` the others wait when the leader dies, 100ms to 8760h (default 15s, 2s in the demo)")
	f.StringVar(&c.http, "http", "", "with -redis: serve HTTP on this `address`: 200 on the leader, 503 elsewhere; in the demo: the loopback address of its page (default a free port)")
	f.DurationVar(&c.limit, "for", 0, "end after this `time` (default: on Ctrl-C or SIGTERM)")
	f.BoolVar(&c.stdin, "stdin", false, "with -redis: end when standard input ends, for example because the parent process died")
	f.BoolVar(&c.json, "json", false, "print one JSON object a line instead of words, as described below")
	f.StringVar(&c.script, "script", "", "run a `story` unattended instead of the demo: "+strings.Join(storyNames(), ", "))
	f.StringVar(&c.svg, "svg", "", "when the demo or the story is over, write its timeline to this `file` as a picture")
	f.DurationVar(&c.grace, "grace", commandGrace, "with a command: `how long` it may take to end after SIGTERM, while the lock is still held")
	f.BoolVar(&c.events, "events", false, "with -redis: also write JSON objects to standard error, for a parent process; with -stdin, it also decides what Ctrl-C does")
	return f
}

// help writes the usage of the program.
func help(w io.Writer) {
	fmt.Fprint(w, `usage: leader [flags]
       leader -redis ADDRESS [flags] -- command [argument...]

Without -redis: a demo with an embedded Redis. Three replicas elect a leader,
and the demo kills the leader every few seconds. With -redis: one replica on a
real Redis. Start several replicas in different terminals. With a command: run
it while leading, and exit with its status. The command finds SETLOCK_KEY,
SETLOCK_OWNER and SETLOCK_FENCE in its environment.

`)
	f := flags(new(config))
	f.SetOutput(w)
	f.PrintDefaults()
	fmt.Fprint(w, objects)
}

// parse returns the config that args give. It returns flag.ErrHelp if args ask for help, and another
// error if args are wrong.
func parse(args []string) (config, error) {
	var c config
	args, c.command = splitCommand(args)
	f := flags(&c)
	if err := f.Parse(args); err == flag.ErrHelp {
		return config{}, err
	} else if err != nil {
		return config{}, withExample(errors.New(redact(err.Error())))
	}
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	err := c.check(f, given)
	if err == nil && given["redis"] {
		err = c.replica(given)
	}
	if err != nil {
		return config{}, withExample(err)
	}
	if !given["redis"] && !given["lease"] {
		c.lease = demoLease
	}
	if !given["redis"] && !given["http"] {
		c.http = pageAddr
	}
	return c, nil
}

// splitCommand returns what stands before and after the first "--". The command is nil without "--".
func splitCommand(args []string) (before, command []string) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i], append([]string{}, args[i+1:]...)
	}
	return args, nil
}
