package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// ErrNoRedis reports that there is no redis-server on the PATH.
var ErrNoRedis = errors.New("redis-server is not on the PATH: install Redis 7.0 or later")

// StartRedis starts a redis-server that keeps nothing on disk. It returns its version,
// too.
func StartRedis() (*Server, string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, "", ErrNoRedis
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp("", "compare-redis")
	if err != nil {
		return nil, "", err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	version := ""
	s, err := start("redis-server", addr, dir, exec.Command(path,
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
		"--save", "", "--appendonly", "no", "--maxclients", "10000", "--logfile", "redis.log",
	), func() (err error) {
		version, err = redisVersion(addr)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		return nil, "", errors.Join(fmt.Errorf("redis-server is %s: the comparison needs 7.0 or later", version), s.Close())
	}
	return s, version, nil
}

func redisVersion(addr string) (string, error) {
	c, err := redis.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	info, err := redis.String(c.Do("INFO", "server"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", errors.New("redis-server does not tell its version")
}
