package redispool_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/redistest"
)

const (
	clusterURL = "redis://n1:1?addr=n2:2&addr=n3:3&dial_timeout=2s"
	askKey     = "PTTL k"
	askSlots   = "CLUSTER SLOTS"
	free       = ":-2\r\n"
	movedTo2   = "-MOVED 7629 n2:2\r\n" // the slot of k
)

// serves returns an answer to CLUSTER SLOTS: the nodes of the slot of k, the primary first.
func serves(nodes ...string) string {
	answer := fmt.Sprintf("*2\r\n*3\r\n:0\r\n:7628\r\n%s*%d\r\n:7629\r\n:16383\r\n", node("n9:9"), 2+len(nodes))
	for _, n := range nodes {
		answer += node(n)
	}
	return answer
}

func node(addr string) string {
	colon := strings.LastIndexByte(addr, ':')
	host, port := addr[:colon], addr[colon+1:]
	return fmt.Sprintf("*3\r\n$%d\r\n%s\r\n:%s\r\n$2\r\nid\r\n", len(host), host, port)
}

// cluster adds three nodes, of which the second one serves k.
func (w *world) cluster() (n1, n2, n3 *fake) {
	slots := serves("n2:2", "r2:1")
	return w.add("n1:1", askKey, movedTo2, askSlots, slots), w.add("n2:2", askKey, free, askSlots, slots), w.add("n3:3", askKey, movedTo2, askSlots, slots)
}

func TestNodeThatHangsCostsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		n1, n2, n3 := w.cluster()
		pool := w.pool(clusterURL)
		n1.hang()
		w.finds(pool, "n2:2", 0)
		n1.Set(redistest.Faults{})
		synctest.Wait()
		n1.was()
		n3.was()
		w.finds(pool, "n2:2", 0)
		if a, b := len(n1.was()), len(n3.was()); a+b != 0 {
			t.Errorf("asked the others %d and %d times, want only the node that served last", a, b)
		}
		n2.answer(askKey, "-MOVED 7629 n3:3\r\n")
		n3.answer(askKey, free)
		w.finds(pool, "n3:3", 0)
		n3.hang()
		n1.answer(askKey, free)
		w.finds(pool, "n1:1", headStart)
		w.finds(pool, "n1:1", 0)
	})
}

// The URL has one node. When the node that serves the key hangs and its replica is promoted,
// nobody but the replica knows.
func TestReplicaThatTakesOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		n1, n2, n3 := w.cluster()
		r2 := w.add("r2:1", askKey, movedTo2, askSlots, "-NOPERM no\r\n")
		pool := w.pool("redis://n1:1?dial_timeout=2s")
		w.finds(pool, "n2:2", 0)
		n1.Set(redistest.Faults{Refuse: true})
		n2.hang()
		const failover = 700 * time.Millisecond
		time.AfterFunc(failover, func() { r2.answer(askKey, free) })
		w.finds(pool, "r2:1", failover+askAgain)
		w.finds(pool, "r2:1", 0)
		if slices.Contains(n3.was(), askKey) {
			t.Error("asked a node that has nothing to do with the key")
		}
	})
}

func TestAnswersOfNodes(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		found  bool
		text   string
	}{
		"a free key":                {free, true, ""},
		"a key":                     {":100\r\n", true, ""},
		"a key that is being moved": {"-ASK 7629 n2:2\r\n", true, ""},
		"the cluster is down":       {"-CLUSTERDOWN The cluster is down\r\n", false, "CLUSTERDOWN"},
		"no right":                  {"-NOPERM no\r\n", false, "NOPERM"},
		"no password":               {"-NOAUTH Authentication required.\r\n", false, "NOAUTH"},
		"moved nowhere":             {"-MOVED\r\n", false, "MOVED"},
		"moved to nonsense":         {"-MOVED 7629 n2\r\n", false, "MOVED"},
		"moved to no port":          {"-MOVED 7629 n2:0\r\n", false, "MOVED"},
		"moved to itself":           {"-MOVED 7629 n1:1\r\n", false, "found no node"},
		"moved to the unknown":      {"-MOVED 7629 n7:7\r\n", false, "n7:7"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.add("n1:1", askKey, test.answer, askSlots, "*0\r\n")
				pool := w.pool("redis://n1:1?dial_timeout=2s")
				if test.found {
					w.finds(pool, "n1:1", 0)
				} else {
					w.fails(pool, 0, `node that serves "k"`, test.text)
				}
			})
		})
	}
}

// A node may not tell the host of another one: it then is its own.
func TestMovedToTheSameHost(t *testing.T) {
	for _, host := range []string{"", "?", "n1", "::1"} {
		inBubble(t, func(t *testing.T, w *world) {
			w.add("n1:1", askKey, "-MOVED 7629 "+host+":2\r\n", askSlots, serves(host+":2"))
			to := "n1:2"
			if host == "::1" {
				to = "[::1]:2"
			}
			w.add(to, askKey, free, askSlots, "$-1\r\n")
			w.finds(w.pool("redis://n1:1"), to, 0)
		})
	}
}

// A server that does not answer CLUSTER SLOTS is not asked again. It may be no Cluster at all.
func TestServerThatIsNoCluster(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		n1 := w.add("n1:1", askKey, free, askSlots, "-ERR This instance has cluster support disabled\r\n")
		pool := w.pool("redis://n1:1/2")
		for _, want := range [][]string{{"SELECT 2", askKey, askSlots}, {"SELECT 2", askKey}} {
			conn, err := pool.DialContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			equal(t, n1.was(), want...)
		}
	})
}

// The error about one server names the server and what happened, and no node. A node of a Cluster is
// called so as soon as it is known to be one.
func TestErrorAboutOneServer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const away = "redispool: n1:1: "
		one, two := w.pool("redis://n1:1?dial_timeout=2s"), w.pool("redis://n1:1?addr=n2:2")
		begins := func(err error, want string) {
			t.Helper()
			if !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v, want it to begin with %q", err, want)
			}
		}
		begins(w.fails(one, 0, "connection refused"), away)
		begins(w.fails(two, 0, "n1:1: ", "n2:2: "), `redispool: found no node that serves "k": `)
		n1 := w.add("n1:1", askKey, "-NOPERM no\r\n", askSlots, "-ERR This instance has cluster support disabled\r\n")
		begins(w.fails(one, 0), away+"PTTL: NOPERM no")
		n1.hang()
		begins(w.fails(one, 2*time.Second), away+"no answer")
		n1.Set(redistest.Faults{})
		n1.answer(askKey, movedTo2)
		begins(w.fails(one, 0, "n2:2"), `redispool: found no node that serves "k": n2:2: `)
		n1.Set(redistest.Faults{Refuse: true})
		begins(w.fails(one, 0), `redispool: found no node that serves "k": n1:1: `)
	})
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func secretFree(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("a password in an error: %v", err)
	}
}
