package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
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

	url  string // the URL of Redis, with its password; "" in the demo
	addr string // host:port of Redis, without secrets
}

func flags(c *config) *flag.FlagSet {
	f := flag.NewFlagSet("leader", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed by run, in one line
	f.StringVar(&c.redis, "redis", "", "run one replica on this Redis: `host:port`, or a redis:// or rediss:// URL")
	f.StringVar(&c.id, "id", "", "with -redis: the `name` of this replica (default host:pid)")
	f.StringVar(&c.key, "key", "leader", "the `key` of the lock; replicas with the same one elect one leader")
	f.DurationVar(&c.lease, "lease", 0, "`how long` the others wait when the leader dies, at least 100ms (default 15s, 2s in the demo)")
	f.StringVar(&c.http, "http", "", "with -redis: serve HTTP on this `address`: 200 on the leader, 503 elsewhere")
	f.DurationVar(&c.limit, "for", 0, "end after this `time` (default: on Ctrl-C or SIGTERM)")
	f.BoolVar(&c.stdin, "stdin", false, "with -redis: end when standard input ends, for example because the parent process died")
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
	if err := f.Parse(args); err != nil {
		return config{}, err
	}
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case c.key == "":
		err = errors.New("-key is empty")
	case given["lease"] && c.lease < minLease:
		err = fmt.Errorf("-lease %v is less than %v", c.lease, minLease)
	case c.limit < 0:
		err = fmt.Errorf("-for %v is negative", c.limit)
	case given["redis"]:
		err = c.replica(given)
	default:
		for _, name := range []string{"id", "http", "stdin"} {
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
	c.url, c.addr, err = parseRedis(c.redis)
	return err
}

// parseRedis returns the URL that s gives, and its host:port without secrets. s is a URL or
// host:port. The errors of parseRedis quote nothing of s, because in an invalid URL any part may be
// the password.
func parseRedis(s string) (full, addr string, err error) {
	const form = "want host:port or a redis:// or rediss:// URL"
	wrong := func(what string) (string, string, error) {
		return "", "", fmt.Errorf("-redis: %s: %s", what, form)
	}
	full = s
	isURL := strings.Contains(s, "://")
	if !isURL {
		if strings.ContainsAny(s, "@/?#") {
			return wrong("malformed address")
		}
		full = "redis://" + s
	}
	u, err := url.Parse(full)
	if err != nil {
		return wrong("malformed address")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return wrong("unknown scheme")
	}
	if u.Hostname() == "" {
		return wrong("no host")
	}
	port := u.Port()
	if port == "" && isURL {
		port = "6379"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return wrong("no port from 1 to 65535")
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if _, err := strconv.ParseUint(db, 10, 31); err != nil {
			return wrong("the database is not a number")
		}
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return wrong("unexpected ? or # (in a password: %3F, %23)")
	}
	return full, net.JoinHostPort(u.Hostname(), port), nil
}

// userinfo matches everything in a URL that may be secret. It may match more.
var userinfo = regexp.MustCompile(`(?s)://.*@`)

// redact returns s without the user and the password of any URL in it.
func redact(s string) string { return userinfo.ReplaceAllString(s, "://***@") }
