package docs_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
)

// redisCLI returns the path of redis-cli. Without it, redisCLI skips t, or fails it where
// redistest.RequireServer is set.
func redisCLI(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-cli")
	if err != nil {
		if os.Getenv(redistest.RequireServer) != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

// testRedisCLI runs a command of redis-cli in a shell, on a server of its own that has a lock.
func testRedisCLI(t *testing.T, command string) {
	cli, server := redisCLI(t), redistest.NewServer(t)
	_, port, _ := net.SplitHostPort(server.Addr)
	redistest.Do(t, server.Dial, "SET", "scheduler", "nonce:owner", "PX", 60_000)
	ran := strings.Replace(command, "redis-cli", cli+" -e -p "+port, 1)
	shell(t, root, ran, "")
	if got := redistest.Do(t, server.Dial, "GET", "scheduler"); strings.Contains(command, "'failover'") && string(got.([]byte)) != "failover" {
		t.Errorf("%s left the value %q", command, got)
	}
}

// What is typed at the prompt of redis-cli is a command that Redis accepts.
func TestRedisCommands(t *testing.T) {
	cli, server := redisCLI(t), redistest.NewServer(t)
	_, port, _ := net.SplitHostPort(server.Addr)
	for _, b := range blocks(t, "redis") {
		for line := range strings.Lines(b.Text) {
			cmd := exec.CommandContext(t.Context(), cli, "-e", "-p", port)
			cmd.Stdin = strings.NewReader(line)
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "OK" {
				t.Errorf("%s:%d: %v, %s", b.page, b.Line, err, out)
			}
		}
	}
}

// The script of the documentation takes a write with the greatest token or a greater one, and
// refuses any other, on an embedded and on a real Redis.
func TestLua(t *testing.T) {
	for _, b := range blocks(t, "lua") {
		t.Run("embedded", func(t *testing.T) {
			testLua(t, redistest.NewEmbedded(t).Dial, b.Text)
		})
		t.Run("server", func(t *testing.T) { testLua(t, redistest.NewServer(t).Dial, b.Text) })
	}
}

func testLua(t *testing.T, dial redistest.Dialer, script string) {
	// Tokens as large as those of a lock, which differ by one, and of a different length.
	const token = 1_795_688_180_038_550
	for i, write := range []struct {
		token int64
		want  int64
	}{{9, 1}, {10, 1}, {9, 0}, {token, 1}, {token, 1}, {token - 1, 0}, {10, 0}, {token + 1, 1}, {token, 0}} {
		before, _ := redis.String(redistest.Do(t, dial, "HGET", "resource", "value"), nil)
		if got := redistest.Do(t, dial, "EVAL", script, 1, "resource", write.token, i); got != write.want {
			t.Errorf("write %d with token %d: %v, want %d", i, write.token, got, write.want)
		}
		after, err := redis.String(redistest.Do(t, dial, "HGET", "resource", "value"), nil)
		if changed := after != before; err != nil || changed != (write.want == 1) {
			t.Errorf("write %d with token %d: the value was %q and is %q (%v)", i, write.token, before, after, err)
		}
	}
}
