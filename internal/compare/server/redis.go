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
	version := ""
	s, err := retry(func() (*Server, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp("", "compare-redis")
		if err != nil {
			return nil, err
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		cmd := exec.Command(path,
			"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
			"--save", "", "--appendonly", "no", "--maxclients", "10000", "--logfile", "redis.log")
		return start("redis-server", addr, dir, cmd, func() (err error) {
			version, err = redisVersion(addr, cmd.Process.Pid)
			return err
		})
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

// redisVersion returns the version of the Redis at addr, which must be the process pid.
func redisVersion(addr string, pid int) (string, error) {
	c, err := redis.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	info, err := redis.String(c.Do("INFO", "server"))
	if err != nil {
		return "", err
	}
	if !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", pid)) {
		return "", errors.New("another process answers")
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", errors.New("redis-server does not tell its version")
}
