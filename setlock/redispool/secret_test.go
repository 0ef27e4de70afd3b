package redispool_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"example.com/setlock/setlock/redispool"
)

// fields prints what String hides.
func fields(c redispool.Config) string {
	type plain redispool.Config
	c.TLS = nil
	return fmt.Sprintf("%+v", plain(c))
}

// texts returns c in every way in which a program may print it by mistake.
func texts(t testing.TB, c *redispool.Config) map[string]string {
	all := map[string]string{"String": c.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		all[verb], all["*"+verb] = fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("config", "value", *c, "pointer", c)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("config", "value", *c, "pointer", c)
	all["slog"] = logged.String()
	encoded, err := json.Marshal(map[string]any{"value": *c, "pointer": c})
	if err != nil {
		t.Errorf("json: %v", err)
	}
	all["json"] = string(encoded)
	return all
}

func TestTextOfAConfig(t *testing.T) {
	for from, want := range map[string]string{
		"redis://":                           "redis://localhost:6379",
		"rediss://user:secret@h/3":           "rediss://h:6379?db=3",
		"redis://secret@[::1]":               "redis://[::1]:6379",
		"unix://user:secret@/run/redis.sock": "unix:///run/redis.sock",
		"redis://user:secret@s1?master_name=m&addr=s2:2&password=secret&username=user": "redis://s1:6379?addr=s2%3A2&master_name=m",
	} {
		c, err := redispool.ParseURL(from)
		if err != nil {
			t.Errorf("%s: %v", from, err)
			continue
		}
		if got := c.String(); got != want {
			t.Errorf("String of %s = %s, want %s", from, got, want)
		}
		for how, text := range texts(t, c) {
			if strings.Contains(text, "secret") {
				t.Errorf("%s of %s: %s", how, from, text)
			}
		}
	}
}

// FuzzParseURL checks that ParseURL and Pool survive everything, and that the text of a Config
// is a URL of the same servers.
func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"", "redis://", "rediss://user:password@[::1]:6379/3?dial_timeout=3&skip_verify=true",
		"unix://u:p@/run/redis.sock?db=2", "redis://s1?master_name=m&addr=s2:2&username=u&password=p",
		"redis://n1?addr=n2:2&addr=n3:3", "redis://u:p/a@h", "redis://h?%zz=%zz", "redis:x", "redis://h?;&&=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := redispool.ParseURL(s)
		if err != nil {
			if c != nil || !strings.HasPrefix(err.Error(), "redispool: ") {
				t.Fatalf("%q: %v, %v", s, c, err)
			}
			return
		}
		c.Key = "k"
		if _, err := c.Pool(); err != nil {
			t.Fatalf("%q was parsed, but Pool: %v", s, err)
		}
		again, err := redispool.ParseURL(c.String())
		if err != nil {
			t.Fatalf("%q became %s: %v", s, c, err)
		}
		if fmt.Sprint(again.Addrs, again.MasterName, again.DB) != fmt.Sprint(c.Addrs, c.MasterName, c.DB) {
			t.Fatalf("%q became %s: %v, want %v", s, c, fields(*again), fields(*c))
		}
	})
}

// FuzzPassword checks that no error has a part of a password, escaped or not, wherever the
// password is in the URL.
func FuzzPassword(f *testing.F) {
	const marker = "QzZtxw" // looks like the name of a parameter, too
	for _, around := range []string{"", "/", "?", "#", "&", "=", "@", "%", "%zz", "[", "]", ":", "x@h/0?", "?a=", "&db=", "&x", " ", "\x00", ";", "?db=", "@h?", "@h/", "1/", "1?"} {
		f.Add(around, "")
		f.Add("", around)
		f.Add(around, around)
		f.Add(around, "=")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		password := before + marker + after
		escaped := url.UserPassword("user", password).String()
		inQuery := url.QueryEscape(password)
		for _, rest := range []string{"", "?db=x", "?x=1", "?dial_timeout=x", "/x", "?addr=x", "#x", ":x"} {
			for _, from := range []string{
				"redis://" + escaped + "@h" + rest,
				"unix://" + escaped + "@/s" + rest,
				"redis://h?master_name=m&password=" + inQuery + strings.Replace(rest, "?", "&", 1),
			} {
				c, err := redispool.ParseURL(from)
				if err != nil {
					if strings.Contains(err.Error(), marker) {
						t.Fatalf("%q: %v", from, err)
					}
					continue
				}
				for how, text := range texts(t, c) {
					if strings.Contains(text, marker) {
						t.Fatalf("%q: %s: %s", from, how, text)
					}
				}
			}
			for _, from := range []string{
				"redis://user:" + password + "@h" + rest,
				"redis://" + password + "@h" + rest,
				"unix://user:" + password + "@/s" + rest,
				"redis://h?master_name=m&password=" + password + strings.Replace(rest, "?", "&", 1),
				"redis://user:" + password + "@h?master_name=m&password=" + password,
			} {
				if _, err := redispool.ParseURL(from); err != nil && strings.Contains(err.Error(), marker) {
					t.Fatalf("%q: %v", from, err)
				}
			}
		}
	})
}
