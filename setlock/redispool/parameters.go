package redispool

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A parameter is a parameter of a URL that is about one connection or about the pool.
type parameter struct {
	name    string
	example string
	set     func(c *Config, value string) error
}

// parameters are the parameters besides addr, master_name, username and password. Where two
// set one field, the later one counts.
var parameters = []parameter{
	{"db", "0", setDB},
	{"client_name", "scheduler", setClientName},
	{"skip_verify", "true", setSkipVerify},

	{"dial_timeout", "2s", setDuration(func(c *Config) *time.Duration { return &c.DialTimeout })},
	{"read_timeout", "3s", setDuration(func(c *Config) *time.Duration { return &c.ReadTimeout })},
	{"write_timeout", "3s", setDuration(func(c *Config) *time.Duration { return &c.WriteTimeout })},

	{"pool_size", "4", setCount(func(c *Config) *int { return &c.MaxIdle })},
	{"max_idle_conns", "4", setCount(func(c *Config) *int { return &c.MaxIdle })},
	{"max_active_conns", "100", setCount(func(c *Config) *int { return &c.MaxActive })},
	{"idle_timeout", "1m", setDuration(func(c *Config) *time.Duration { return &c.IdleTimeout })},
	{"conn_max_idle_time", "1m", setDuration(func(c *Config) *time.Duration { return &c.IdleTimeout })},
	{"max_conn_age", "1h", setDuration(func(c *Config) *time.Duration { return &c.MaxConnLifetime })},
	{"conn_max_lifetime", "1h", setDuration(func(c *Config) *time.Duration { return &c.MaxConnLifetime })},

	// A lock works on the primary only.
	{"replica_only", "false", mustBeFalse},

	// These make no difference to a lock or have no counterpart here. Their values are
	// checked.
	{"protocol", "3", checkInt},
	{"max_retries", "3", checkInt},
	{"max_redirects", "3", checkInt},
	{"dialer_retries", "5", checkInt},
	{"min_idle_conns", "1", checkInt},
	{"max_concurrent_dials", "10", checkInt},
	{"failing_timeout_seconds", "15", checkInt},
	{"min_retry_backoff", "10ms", checkDuration},
	{"max_retry_backoff", "1s", checkDuration},
	{"dialer_retry_timeout", "100ms", checkDuration},
	{"pool_timeout", "4s", checkDuration},
	{"conn_max_lifetime_jitter", "5m", checkDuration},
	{"pool_fifo", "false", checkBool},
	{"read_only", "false", checkBool},
	{"route_by_latency", "false", checkBool},
	{"route_randomly", "false", checkBool},
	{"use_disconnected_replicas", "false", checkBool},
	{"context_timeout_enabled", "true", checkBool},
	{"unstable_resp3", "false", checkBool},
	{"disableIdentity", "false", checkBool},
	{"identitySuffix", "scheduler", func(*Config, string) error { return nil }},
}

// isKnown reports whether a URL may have the parameter.
func isKnown(name string) bool {
	switch name {
	case "addr", "master_name", "username", "password":
		return true
	}
	for _, p := range parameters {
		if p.name == name {
			return true
		}
	}
	return false
}

// setParameters sets what the parameters of the query give. An empty value is the default.
func (c *Config) setParameters(query query) error {
	for _, p := range parameters {
		value := query.last(p.name)
		if value == "" {
			continue
		}
		if err := p.set(c, value); err != nil {
			return fmt.Errorf("%s %w; want, for example, %s=%s", p.name, err, p.name, p.example)
		}
	}
	switch {
	case len(c.Addrs) > 1 && c.MasterName == "" && c.DB != 0:
		return errors.New("the database (db or the path) is not 0: without master_name, a URL with addr is for a Redis Cluster, which has only database 0; want, for example, redis://10.0.0.1:6379/0?addr=10.0.0.2:6379")
	case c.DialTimeout < 0:
		return errors.New("dial_timeout is not more than 0: without it, a server that hangs would block a dial for ever; want, for example, dial_timeout=2s")
	}
	return nil
}

func setDB(c *Config, value string) (err error) {
	if c.DB, err = parseDB(value); err != nil {
		return errors.New("is not the number of a database")
	}
	return nil
}

func setClientName(c *Config, value string) error {
	c.ClientName = value
	if !isClientName(value) {
		return errors.New("has a space or a sign that is not printable ASCII")
	}
	return nil
}

func setSkipVerify(c *Config, value string) error {
	skip, err := parseBool(value)
	switch {
	case err != nil:
		return err
	case c.TLS == nil:
		return errors.New("is only for a URL that begins with rediss://")
	}
	c.TLS.InsecureSkipVerify = skip
	return nil
}

// setDuration returns a set for a field where less than 0 is no limit.
func setDuration(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, value string) error {
		d, err := parseDuration(value)
		if d <= 0 {
			d = -1
		}
		*field(c) = d
		return err
	}
}

func setCount(field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return errors.New("is not a number from 0")
		}
		if n > 0 { // 0 is the default, so it does not undo what another parameter has set
			*field(c) = int(n)
		}
		return nil
	}
}

func checkInt(_ *Config, value string) error {
	if _, err := strconv.Atoi(value); err != nil {
		return errors.New("is not a number")
	}
	return nil
}

func checkDuration(_ *Config, value string) error {
	_, err := parseDuration(value)
	return err
}

func checkBool(_ *Config, value string) error {
	_, err := parseBool(value)
	return err
}

func mustBeFalse(_ *Config, value string) error {
	b, err := parseBool(value)
	if err == nil && b {
		err = errors.New("is true, but a lock works on the primary only")
	}
	return err
}

// parseDuration returns a duration, which is either a number of seconds or what
// time.ParseDuration accepts.
func parseDuration(s string) (time.Duration, error) {
	if _, err := strconv.Atoi(s); err == nil {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errors.New("is not a duration")
	}
	return d, nil
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("is neither true nor false")
}
