package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"example.com/setlock/setlock/redispool"
)

const (
	// demoLease is short, because nobody leads for this time after a kill.
	demoLease = 2 * time.Second
	// minLease is the shortest Lease that a Lock accepts.
	minLease = 100 * time.Millisecond
)

// A config is the values of the flags, and what follows from them.
type config struct {
	redis string        // the flag as given
	id    string        // the name of this replica; "" in the demo
	key   string        // the key of the lock
	lease time.Duration // 0: the default of a Lock
	http  string        // the address to listen on; "" for none
	limit time.Duration // when to end; 0 for never
	stdin bool          // end when standard input ends
	json  bool          // print objects instead of lines

	events bool // write events to standard error, for the parent process

	server *redispool.Config // where Redis is; nil in the demo
}

func flags(c *config) *flag.FlagSet {
	f := flag.NewFlagSet("leader", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed by run, in one line
	f.StringVar(&c.redis, "redis", "", "run one replica on this Redis: `host:port`, a URL as for package redispool, or REDIS_URL for the environment variable")
	f.StringVar(&c.id, "id", "", "with -redis: the `name` of this replica (default host:pid)")
	f.StringVar(&c.key, "key", "leader", "the `key` of the lock; replicas with the same one elect one leader")
	f.DurationVar(&c.lease, "lease", 0, "`how long` the others wait when the leader dies, at least 100ms (default 15s, 2s in the demo)")
	f.StringVar(&c.http, "http", "", "with -redis: serve HTTP on this `address`: 200 on the leader, 503 elsewhere")
	f.DurationVar(&c.limit, "for", 0, "end after this `time` (default: on Ctrl-C or SIGTERM)")
	f.BoolVar(&c.stdin, "stdin", false, "with -redis: end when standard input ends, for example because the parent process died")
	f.BoolVar(&c.json, "json", false, "print one JSON object a line instead of words")
	f.BoolVar(&c.events, "events", false, "with -redis: also write JSON objects to standard error, for a parent process")
	return f
}

// help writes the usage of the program.
func help(w io.Writer) {
	fmt.Fprint(w, `usage: leader [flags]

Without -redis: a demo with an embedded Redis. Three replicas elect a leader,
and the demo kills the leader every few seconds. With -redis: one replica on a
real Redis. Start several replicas in different terminals.

`)
	f := flags(new(config))
	f.SetOutput(w)
	f.PrintDefaults()
}

// parse returns the config that args give. It returns flag.ErrHelp if args ask for help, and another
// error if args are wrong.
func parse(args []string) (config, error) {
	var c config
	f := flags(&c)
	if err := f.Parse(args); err == flag.ErrHelp {
		return config{}, err
	} else if err != nil {
		return config{}, errors.New(redact(err.Error()))
	}
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", redact(f.Arg(0)))
	case c.key == "":
		err = errors.New("-key is empty")
	case given["lease"] && c.lease < minLease:
		err = fmt.Errorf("-lease %v is less than %v", c.lease, minLease)
	case c.limit < 0:
		err = fmt.Errorf("-for %v is negative", c.limit)
	case given["redis"]:
		err = c.replica(given)
	default:
		for _, name := range []string{"id", "http", "stdin", "events"} {
			if given[name] {
				err = fmt.Errorf("-%s needs -redis", name)
				break
			}
		}
		if !given["lease"] {
			c.lease = demoLease
		}
	}
	if err != nil {
		return config{}, err
	}
	return c, nil
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
	c.server.Key = c.key
	return nil
}

// redisURL is the environment variable that -redis may name. An argument can be seen by every user
// of the machine, and a URL may have a password.
const redisURL = "REDIS_URL"

// parseRedis returns where Redis is: s is host:port, a URL, or the name of the environment variable
// that has one of the two. The errors of parseRedis quote nothing of s, because in an invalid URL
// any part may be the password.
func parseRedis(s string) (*redispool.Config, error) {
	if s == redisURL {
		if s = os.Getenv(redisURL); s == "" {
			return nil, errors.New("the environment variable " + redisURL + " is empty")
		}
	}
	if !strings.Contains(s, "://") && !strings.HasPrefix(s, "unix:") {
		host, port, err := net.SplitHostPort(s)
		if err != nil || host == "" || port == "" || strings.ContainsAny(s, "@/?#") {
			return nil, errors.New("want host:port or a URL, for example localhost:6379")
		}
		s = "redis://" + s
	}
	return redispool.ParseURL(s)
}

// userinfo matches everything in a URL that may be secret. It may match more.
var userinfo = regexp.MustCompile(`(?s)://.*@`)

// redact returns s without the user and the password of any URL in it.
func redact(s string) string { return userinfo.ReplaceAllString(s, "://***@") }
