package redispool_test

import (
	"crypto/tls"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/setlock/setlock/redispool"
)

func verified(host string) *tls.Config {
	return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
}

func TestParseURL(t *testing.T) {
	for url, want := range map[string]redispool.Config{
		"redis://":                           {Addrs: []string{"localhost:6379"}},
		"redis://redis.example.com":          {Addrs: []string{"redis.example.com:6379"}},
		"REDIS://:7000/":                     {Addrs: []string{"localhost:7000"}},
		"redis://[::1]":                      {Addrs: []string{"[::1]:6379"}},
		"redis://[::1]:7000/2":               {Addrs: []string{"[::1]:7000"}, DB: 2},
		"redis://[fe80::1%25eth0]:7000":      {Addrs: []string{"[fe80::1%eth0]:7000"}},
		"redis://h/3":                        {Addrs: []string{"h:6379"}, DB: 3},
		"redis://h/3?db=1":                   {Addrs: []string{"h:6379"}, DB: 1},
		"redis://h/3?db=":                    {Addrs: []string{"h:6379"}, DB: 3},
		"redis://app:secret@h":               {Addrs: []string{"h:6379"}, Username: "app", Password: "secret"},
		"redis://:secret@h":                  {Addrs: []string{"h:6379"}, Password: "secret"},
		"redis://app@h":                      {Addrs: []string{"h:6379"}, Username: "app"},
		"redis://a%40b:%2F%3F%23%25%3A@h":    {Addrs: []string{"h:6379"}, Username: "a@b", Password: "/?#%:"},
		"redis://app:p@ss@h":                 {Addrs: []string{"h:6379"}, Username: "app", Password: "p@ss"},
		"rediss://h":                         {Addrs: []string{"h:6379"}, TLS: verified("h")},
		"rediss://[::1]:7000?skip_verify=0":  {Addrs: []string{"[::1]:7000"}, TLS: verified("::1")},
		"rediss://h?skip_verify=true":        {Addrs: []string{"h:6379"}, TLS: &tls.Config{ServerName: "h", MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}},
		"unix:///run/redis.sock":             {Addrs: []string{"/run/redis.sock"}},
		"unix:/run/redis.sock":               {Addrs: []string{"/run/redis.sock"}},
		"unix://app:secret@/run/r.sock?db=4": {Addrs: []string{"/run/r.sock"}, Username: "app", Password: "secret", DB: 4},
		"unix:///run/r%20dis.sock":           {Addrs: []string{"/run/r dis.sock"}},
		"redis://h?dial_timeout=3":           {Addrs: []string{"h:6379"}, DialTimeout: 3 * time.Second},
		"redis://h?dial_timeout=250ms":       {Addrs: []string{"h:6379"}, DialTimeout: 250 * time.Millisecond},
		"redis://h?dial_timeout=9&dial_timeout=1": {
			Addrs: []string{"h:6379"}, DialTimeout: time.Second, // the last one counts
		},
		"redis://h?read_timeout=6s&write_timeout=7": {Addrs: []string{"h:6379"}, ReadTimeout: 6 * time.Second, WriteTimeout: 7 * time.Second},
		"redis://h?read_timeout=-1&write_timeout=0": {Addrs: []string{"h:6379"}, ReadTimeout: -1, WriteTimeout: -1},
		"redis://h?pool_size=10":                    {Addrs: []string{"h:6379"}, MaxIdle: 10},
		"redis://h?max_idle_conns=5&pool_size=10":   {Addrs: []string{"h:6379"}, MaxIdle: 5},
		"redis://h?max_idle_conns=0&pool_size=10":   {Addrs: []string{"h:6379"}, MaxIdle: 10},
		"redis://h?max_active_conns=7":              {Addrs: []string{"h:6379"}, MaxActive: 7},
		"redis://h?idle_timeout=2m":                 {Addrs: []string{"h:6379"}, IdleTimeout: 2 * time.Minute},
		"redis://h?conn_max_idle_time=0":            {Addrs: []string{"h:6379"}, IdleTimeout: -1},
		"redis://h?conn_max_lifetime=1h":            {Addrs: []string{"h:6379"}, MaxConnLifetime: time.Hour},
		"redis://h?max_conn_age=60":                 {Addrs: []string{"h:6379"}, MaxConnLifetime: time.Minute},
		"redis://h?client_name=a@b":                 {Addrs: []string{"h:6379"}, ClientName: "a@b"},
		"redis://h?&protocol=3&max_retries=-1&min_retry_backoff=8ms&max_retry_backoff=-1&pool_fifo=true&pool_timeout=4s" +
			"&min_idle_conns=1&max_concurrent_dials=2&conn_max_lifetime_jitter=1m&": {Addrs: []string{"h:6379"}},
		"redis://h?replica_only=false": {Addrs: []string{"h:6379"}},

		// Sentinel. The credentials before the host are for the sentinels.
		"redis://s1?master_name=m": {Addrs: []string{"s1:6379"}, MasterName: "m"},
		"redis://su:sp@s1:26379/2?master_name=my+master&addr=s2:26379&addr=[::1]:26379&username=ru&password=r%26p": {
			Addrs: []string{"s1:26379", "s2:26379", "[::1]:26379"}, MasterName: "my master", DB: 2,
			SentinelUsername: "su", SentinelPassword: "sp", Username: "ru", Password: "r&p",
		},
		"redis://s1?master_name=m&password=p@s;s":          {Addrs: []string{"s1:6379"}, MasterName: "m", Password: "p@s;s"},
		"rediss://s1?master_name=m&addr=s2:1&skip_verify=": {Addrs: []string{"s1:6379", "s2:1"}, MasterName: "m", TLS: verified("s1")},
		"redis://s1?master_name=m&disableIdentity=true&identitySuffix=x&unstable_resp3=1&dialer_retries=3&dialer_retry_timeout=1" +
			"&context_timeout_enabled=true&use_disconnected_replicas=true&route_randomly=1": {Addrs: []string{"s1:6379"}, MasterName: "m"},

		// Cluster.
		"redis://app:secret@n1:7000?addr=n2:7001&addr=n3:7002&addr=n1:7000": {
			Addrs: []string{"n1:7000", "n2:7001", "n3:7002"}, Username: "app", Password: "secret",
		},
		"rediss://n1?addr=n2:1&read_only=true&route_by_latency=true&max_redirects=8&failing_timeout_seconds=1": {
			Addrs: []string{"n1:6379", "n2:1"}, TLS: verified("n1"),
		},
	} {
		got, err := redispool.ParseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if !reflect.DeepEqual(got.TLS, want.TLS) {
			t.Errorf("%s: TLS %+v, want %+v", url, got.TLS, want.TLS)
		}
		got.TLS, want.TLS = nil, nil
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\n got %s\nwant %s", url, fields(*got), fields(want))
		}
	}
}

// Each error names the parameter that is wrong, and has an example that is right.
func TestParseURLErrors(t *testing.T) {
	for url, want := range map[string][]string{
		"":                            {"redis://localhost:6379"},
		"localhost:6379":              {"redis://", "rediss://", "unix://"},
		"http://h":                    {"redis://"},
		"redis:h":                     {"redis://user:password@localhost:6379/0"},
		"redis://h:port":              {"redis://user:password@localhost:6379/0"},
		"redis://h1:1,h2:2":           {"several hosts", "addr="},
		"redis://h:0":                 {"port", "redis://localhost:6379"},
		"redis://h:65536":             {"port", "redis://localhost:6379"},
		"redis://::1":                 {"redis://[::1]:6379"},
		"redis://h/x":                 {"path", "redis://localhost:6379/0"},
		"redis://h/-1":                {"path", "redis://localhost:6379/0"},
		"redis://h/1/2":               {"path", "redis://localhost:6379/0"},
		"redis://h?db=x":              {"db is not", "db=0"},
		"redis://h?db=-1":             {"db is not", "db=0"},
		"redis://h?db=99999999999":    {"db is not", "db=0"},
		"redis://h#x":                 {"#", "%23"},
		"redis://h?dial_timeout=fast": {"dial_timeout is not", "dial_timeout=2s"},
		"redis://h?dial_timeout=1h30": {"dial_timeout is not", "dial_timeout=2s"},
		"redis://h?dial_timeout=9999999999999": {
			"dial_timeout is not", "dial_timeout=2s",
		},
		"redis://h?dial_timeout=0":                      {"dial_timeout is not more than 0", "dial_timeout=2s"},
		"redis://h?read_timeout=1x":                     {"read_timeout is not", "read_timeout=3s"},
		"redis://h?pool_timeout=x":                      {"pool_timeout is not", "pool_timeout=4s"},
		"redis://h?pool_size=-1":                        {"pool_size is not", "pool_size=4"},
		"redis://h?max_retries=x":                       {"max_retries is not", "max_retries=3"},
		"redis://h?pool_fifo=yes":                       {"pool_fifo is neither", "pool_fifo=false"},
		"redis://h?client_name=a+b":                     {"client_name has a space", "client_name=scheduler"},
		"redis://h?skip_verify=true":                    {"skip_verify", "rediss://"},
		"rediss://h?skip_verify=yes":                    {"skip_verify is neither", "skip_verify=true"},
		"redis://h?client_name=%zz":                     {"client_name", "%25"},
		"redis://h?username=u":                          {"username", "master_name", "redis://user:password@localhost:6379"},
		"redis://h?password=p":                          {"password", "master_name", "redis://user:password@localhost:6379"},
		"redis://h?timeout=3":                           {"unknown parameter timeout", "dial_timeout=2s"},
		"redis://h?DB=3":                                {"unknown parameter DB"},
		"redis://h?key=k":                               {"unknown parameter key", "Config"},
		"redis://h?master_name=":                        {"master_name is empty", "master_name=mymaster"},
		"redis://h?master_name=m&sentinel_password=p":   {"sentinel_password", "before the host"},
		"redis://h?master_name=m&replica_only=true":     {"replica_only", "primary", "replica_only=false"},
		"redis://h?master_name=m&addr=s2":               {"addr is not", "addr=10.0.0.2:6379"},
		"redis://h?addr=":                               {"addr is not", "addr=10.0.0.2:6379"},
		"redis://h?addr=::1:6379":                       {"addr is not", "addr=[::1]:6379"},
		"redis://h?addr=h2:x":                           {"addr is not", "65535"},
		"redis://h/1?addr=h2:1":                         {"database", "addr", "Cluster"},
		"redis://h?addr=h2:1&db=1":                      {"db", "Cluster"},
		"redis://h?master_name=m&password=a&secretpart": {"parameter: number 3", "%26"},
		"redis://:1?b@h":                                {"parameter: number 1", "%3F"},
		"redis://user:pass/word@h":                      {"malformed", "%2F"},
		"redis://user:pass#word@h":                      {"malformed", "%23"},
		"redis://user:100%@h":                           {"malformed", "%25"},
		"redis://user:12/34@h":                          {"path", "/0"},
		"unix://":                                       {"path", "unix:///run/redis.sock"},
		"unix:///":                                      {"path", "unix:///run/redis.sock"},
		"unix://run/redis.sock":                         {"three slashes", "unix:///run/redis.sock"},
		"unix:run/redis.sock":                           {"malformed"},
		"unix:///run/redis.sock?addr=h:1":               {"addr", "redis://"},
		"unix:///run/redis.sock?master_name=m":          {"master_name", "redis://"},
	} {
		c, err := redispool.ParseURL(url)
		if err == nil {
			t.Errorf("%s: no error, but %s", url, fields(*c))
			continue
		}
		for _, text := range append(want, "redispool: ") {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v: want %q in it", url, err, text)
			}
		}
	}
}

func TestPoolRefusesAConfig(t *testing.T) {
	one, several := []string{"h:6379"}, []string{"h:1", "h:2"}
	for want, c := range map[string]redispool.Config{
		"no Addrs":    {},
		"Addrs is":    {Addrs: []string{"h"}},
		"in Addrs":    {Addrs: []string{"h:1", "/run/redis.sock"}, Key: "k"},
		"no Key":      {Addrs: several},
		"DB is not 0": {Addrs: several, Key: "k", DB: 1},
		"DB":          {Addrs: one, DB: -1},
		"DialTimeout": {Addrs: one, DialTimeout: -1},
		"MaxIdle":     {Addrs: one, MaxIdle: -1},
		"MaxActive":   {Addrs: one, MaxActive: -1},
		"ClientName":  {Addrs: one, ClientName: "a b"},
	} {
		pool, err := c.Pool()
		if err == nil || pool != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Pool = %v, %v, want an error with %q", pool, err, want)
		}
	}
}

func TestPoolHasTheLimitsOfItsConfig(t *testing.T) {
	c := redispool.Config{Addrs: []string{"h:1"}}
	pool, err := c.Pool()
	if err != nil {
		t.Fatal(err)
	}
	if pool.MaxIdle != redispool.DefaultMaxIdle || pool.MaxActive != 0 || pool.Wait ||
		pool.IdleTimeout != redispool.DefaultIdleTimeout || pool.MaxConnLifetime != 0 {
		t.Errorf("defaults: %d, %d, %v, %v, %v", pool.MaxIdle, pool.MaxActive, pool.Wait, pool.IdleTimeout, pool.MaxConnLifetime)
	}
	c.MaxIdle, c.MaxActive, c.IdleTimeout, c.MaxConnLifetime = 1, 2, -1, time.Hour
	if pool, err = c.Pool(); err != nil {
		t.Fatal(err)
	}
	if pool.MaxIdle != 1 || pool.MaxActive != 2 || !pool.Wait || pool.IdleTimeout != 0 || pool.MaxConnLifetime != time.Hour {
		t.Errorf("as configured: %d, %d, %v, %v, %v", pool.MaxIdle, pool.MaxActive, pool.Wait, pool.IdleTimeout, pool.MaxConnLifetime)
	}
}
