package redispool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ParseURL returns the Config that a URL gives. The package documentation has the forms of a
// URL and its parameters.
//
// An error names the parameter that is wrong, and has an example of a right value. It quotes
// no value, because in a URL with a mistake any part may belong to a password. For the same
// reason it does not name a parameter that may be the rest of a password.
func ParseURL(rawURL string) (*Config, error) {
	c, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redispool: %w", err)
	}
	return c, nil
}

func parseURL(rawURL string) (*Config, error) {
	scheme, rest, ok := strings.Cut(rawURL, ":")
	scheme = strings.ToLower(scheme)
	if !ok || !slices.Contains([]string{"redis", "rediss", "unix"}, scheme) {
		return nil, errors.New("the URL does not begin with redis://, rediss:// or unix://; want, for example, redis://localhost:6379")
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" {
		return nil, fmt.Errorf("the URL is malformed; want, for example, redis://user:password@localhost:6379/0. %s", escape)
	}
	if u.Fragment != "" {
		return nil, fmt.Errorf("the URL has a #. %s", escape)
	}
	query, err := parseQuery(u.RawQuery, isSafe(rest))
	if err != nil {
		return nil, err
	}
	c := new(Config)
	if scheme == "unix" {
		err = c.setSocket(u)
	} else {
		err = c.setServer(u)
	}
	if err == nil {
		err = c.setTopology(query)
	}
	if err == nil {
		err = c.setCredentials(u.User, query)
	}
	if err == nil {
		err = c.setParameters(query)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// escape is the hint for a URL that seems to have an unescaped password.
const escape = "In a user or a password, write %25 for %, %2F for /, %3F for ?, %23 for #, %40 for @, %26 for &, %3A for :, %5B for [ and %5D for ]"

// isSafe reports whether the part of a URL behind the scheme has no @ behind its host. Such an
// @ usually is a sign that a password was not escaped, and that its end was taken for a path
// or a query.
func isSafe(rest string) bool {
	rest = strings.TrimPrefix(rest, "//")
	end := strings.IndexAny(rest, "/?#")
	return end < 0 || !strings.Contains(rest[end:], "@")
}

// setServer sets what scheme, host and path of a redis or rediss URL give.
func (c *Config) setServer(u *url.URL) error {
	host, port := orDefault(u.Hostname(), "localhost"), orDefault(u.Port(), "6379")
	addr, err := parseAddr(net.JoinHostPort(host, port))
	if err != nil {
		return errors.New("the host or the port is wrong; want, for example, redis://localhost:6379, redis://[::1]:6379 or, for several hosts, redis://10.0.0.1:6379?addr=10.0.0.2:6379, with ports from 1 to 65535")
	}
	c.Addrs = []string{addr}
	if u.Scheme == "rediss" {
		c.TLS = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if c.DB, err = parseDB(path); err != nil {
			return errors.New("the path is not the number of a database; want, for example, redis://localhost:6379/0")
		}
	}
	return nil
}

// setSocket sets what the path of a unix URL gives.
func (c *Config) setSocket(u *url.URL) error {
	if u.Host != "" {
		return errors.New("a unix URL has three slashes and no host; want, for example, unix:///run/redis.sock")
	}
	if strings.Trim(u.Path, "/ ") == "" {
		return errors.New("a unix URL needs the path of a socket; want, for example, unix:///run/redis.sock")
	}
	c.Addrs = []string{u.Path}
	return nil
}

// setTopology sets what the parameters addr and master_name give.
func (c *Config) setTopology(query query) error {
	isUnix := strings.HasPrefix(c.Addrs[0], "/")
	for _, value := range query["addr"] {
		addr, err := parseAddr(value)
		if err != nil {
			return errors.New("addr is not host:port; want, for example, addr=10.0.0.2:6379 or addr=[::1]:6379, with a port from 1 to 65535")
		}
		if isUnix {
			return errors.New("addr is only for redis:// and rediss:// URLs; want, for example, redis://10.0.0.1:6379?addr=10.0.0.2:6379")
		}
		if !slices.Contains(c.Addrs, addr) {
			c.Addrs = append(c.Addrs, addr)
		}
	}
	if !query.has("master_name") {
		return nil
	}
	c.MasterName = query.last("master_name")
	switch {
	case c.MasterName == "":
		return errors.New("master_name is empty; want, for example, master_name=mymaster")
	case isUnix:
		return errors.New("master_name is only for redis:// and rediss:// URLs; want, for example, redis://10.0.0.1:26379?master_name=mymaster")
	}
	return nil
}

// setCredentials sets the users and the passwords. With Sentinel, those before the host are
// for the sentinels, and the parameters username and password are for Redis.
func (c *Config) setCredentials(user *url.Userinfo, query query) error {
	username := user.Username()
	password, _ := user.Password()
	if c.MasterName != "" {
		c.SentinelUsername, c.SentinelPassword = username, password
		c.Username, c.Password = query.last("username"), query.last("password")
		return nil
	}
	for _, name := range []string{"username", "password"} {
		if query.has(name) {
			return fmt.Errorf("%s is only for a URL with master_name; want, for example, redis://user:password@localhost:6379", name)
		}
	}
	c.Username, c.Password = username, password
	return nil
}

// A query has the values of each parameter, in their order.
type query map[string][]string

func (q query) has(name string) bool { return len(q[name]) > 0 }

// last returns the last value of a parameter, which is the one that counts.
func (q query) last(name string) string {
	if values := q[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// looksLikeName matches what may be the name of a parameter.
var looksLikeName = regexp.MustCompile(`^[A-Za-z_]{1,40}$`)

// parseQuery returns the parameters of a query. It refuses a parameter that is not known, and
// names it if it cannot be a part of a password: if safe is true, and no password comes
// before it. An & in such a password may not have been escaped.
func parseQuery(raw string, safe bool) (query, error) {
	q := make(query)
	for i, pair := range strings.Split(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		switch {
		case err == nil && isKnown(name):
		case safe && err == nil && looksLikeName.MatchString(name):
			return nil, fmt.Errorf("unknown parameter %s%s; want, for example, redis://localhost:6379?dial_timeout=2s", name, hint(name))
		default:
			return nil, fmt.Errorf("unknown parameter: number %d behind the ?, whose name may be secret; want, for example, dial_timeout=2s. %s", i+1, escape)
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, fmt.Errorf("%s has a %% that is no escape; write %%25 for %%", name)
		}
		q[name] = append(q[name], value)
		safe = safe && name != "password" && name != "username"
	}
	return q, nil
}

// hint returns what to write instead of an unknown parameter.
func hint(name string) string {
	switch name {
	case "sentinel_username", "sentinel_password":
		return ": the user and the password of the sentinels come before the host, as in redis://user:password@10.0.0.1:26379?master_name=mymaster"
	case "key":
		return ": the key of the lock is the field Key of a Config"
	}
	return ""
}

func parseDB(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}
