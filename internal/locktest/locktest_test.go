package locktest_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/protocol"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestSends(t *testing.T) {
	look := protocol.NewKeys("k").Look()
	withSource := look.WithSource()
	hash, source := look.Args[0].(string), withSource.Args[0].(string)
	request := func(parts ...string) string {
		var b strings.Builder
		b.WriteString("*" + strconv.Itoa(len(parts)) + "\r\n")
		for _, part := range parts {
			b.WriteString("$" + strconv.Itoa(len(part)) + "\r\n" + part + "\r\n")
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		sent string
		want bool
	}{
		"by hash":              {request("EVALSHA", hash, "2", "k", "{k}:fence"), true},
		"by source":            {request("EVAL", source, "2", "k", "{k}:fence"), true},
		"behind another":       {request("PING") + request("EVALSHA", hash, "0"), true},
		"cut off behind it":    {strings.TrimSuffix(request("EVALSHA", hash, "0"), "0\r\n"), true},
		"another command":      {request("GET", "k"), false},
		"another script":       {request("EVALSHA", strings.Repeat("0", 40), "0"), false},
		"the hash is a value":  {request("SET", "k", hash), false},
		"nothing":              {"", false},
		"not a request":        {"+OK\r\n", false},
		"a size that is wrong": {"*1\r\n$-5\r\nEVALSHA\r\n", false},
	} {
		if got := locktest.Sends("look")([]byte(test.sent)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if !locktest.Runs("look", look.Name, look.Args...) || locktest.Runs("renew", look.Name, look.Args...) || !locktest.Runs("PING", "PING") {
		t.Error("Runs does not know a request by its name")
	}
}

func TestServerByName(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(locktest.Lease)
		locktest.LoadScripts(t, l)
		acquired, renewed, published := w.Server.Count("acquire"), w.Server.Count("renew"), w.Server.Count("PUBLISH")
		locktest.MustLock(t, l, time.Minute)
		locktest.MustUnlock(t, l)
		if acquired() != 1 || renewed() != 0 || published() != 2 {
			t.Errorf("%d acquisitions, %d renewals, %d announcements, want 1, 0, 2", acquired(), renewed(), published())
		}
		locktest.MustLock(t, l, time.Minute)
		refused := true
		w.Server.Refuse("BUSY x", func() bool { return refused }, "renew")
		locktest.Fails(t, "Renew", l.Renew(t.Context(), time.Minute))
		locktest.MustExtend(t, l, time.Minute)
		refused = false
		locktest.MustRenew(t, l, time.Minute)
		w.Server.SetError("LOADING x")
		locktest.Fails(t, "Extend", l.Extend(t.Context(), time.Minute))
		w.Server.SetError("")
		locktest.MustExtend(t, l, time.Minute)
		if got := renewed(); got != 2 {
			t.Errorf("%d renewals, want 2: SetError has replaced the hooks", got)
		}
	})
}
