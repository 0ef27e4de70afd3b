package main

import (
	"errors"
	"net"
	"os"
	"regexp"
	"strings"

	"example.com/setlock/setlock/redispool"
)

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
			return nil, errors.New("want host:port or a URL")
		}
		s = "redis://" + s
	}
	return redispool.ParseURL(s)
}

// userinfo matches everything in a URL that may be secret. It may match more.
var userinfo = regexp.MustCompile(`(?s)://.*@`)

// redact returns s without the user and the password of any URL in it.
func redact(s string) string { return userinfo.ReplaceAllString(s, "://***@") }
