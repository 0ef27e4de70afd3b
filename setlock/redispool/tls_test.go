package redispool_test

import (
	"net"
	"strings"
	"testing"

	"example.com/setlock/internal/redistest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	s, addr, authority := redistest.NewTLSServer(t, "localhost", "--requirepass", "secret")
	_, port, _ := net.SplitHostPort(addr)

	c := config(t, "rediss://:secret@localhost:"+port)
	c.TLS.RootCAs = authority
	conn := poolOf(t, c).Get()
	defer conn.Close()
	if reply, err := conn.Do("SET", "k", "v"); reply != "OK" {
		t.Errorf("SET: %v, %v", reply, err)
	}

	if err := refused(t, pool(t, "rediss://:secret@localhost:"+port)); !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an authority that nobody knows: %v", err)
	}
	c = config(t, "rediss://:secret@127.0.0.1:"+port)
	c.TLS.RootCAs = authority
	if err := refused(t, poolOf(t, c)); !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("a certificate for another host: %v", err)
	}
	c.TLS.ServerName = "localhost"
	check(t, c)
	c = config(t, "rediss://:secret@localhost:"+port)
	c.TLS.RootCAs, c.TLS.ServerName = authority, ""
	check(t, c) // against the host of the address
	check(t, config(t, "rediss://:secret@127.0.0.1:"+port+"?skip_verify=true"))
	if err := refused(t, pool(t, "rediss://:secret@"+s.Addr+"?dial_timeout=1s")); !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("TLS with a server that has none: %v", err)
	}
}
