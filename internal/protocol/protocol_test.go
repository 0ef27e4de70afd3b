package protocol_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/protocol"
)

var keys = protocol.NewKeys("k")

func TestCommands(t *testing.T) {
	const linger = 7200000
	announcement := protocol.Announcement{Acquired: true, Value: "v", Fence: 7, Previous: "6", Lease: time.Second}
	for _, test := range []struct {
		script  string
		command protocol.Command
		want    []any // without the script
	}{
		{"acquire", keys.Acquire("v", time.Second, true, "", nil), []any{2, "k", "{k}:fence", "v", 1000, linger, "setlock:k", ""}},
		{"acquire", keys.Acquire("v", time.Second, false, "m", []string{"o", "p"}), []any{2, "k", "{k}:fence", "v", 1000, linger, "", "m", "o", "p"}},
		{"acquire", keys.Acquire("v", time.Second, true, "", []string{"o"}), []any{2, "k", "{k}:fence", "v", 1000, linger, "setlock:k", "", "o"}},
		{"renew", keys.Renew("v", time.Second), []any{1, "k", "v", 1000}},
		{"renew", keys.RenewBoth("v", 7, time.Second), []any{2, "k", "{k}:fence", "v", 1000, linger, 7}},
		{"extend", keys.Extend("v", 7, time.Second, time.Minute), []any{2, "k", "{k}:fence", "v", 1000, linger, 7, 60000}},
		{"release", keys.Release(true, "v", "w"), []any{1, "k", "setlock:k", "v", "w"}},
		{"release", keys.Release(false, "v"), []any{1, "k", "", "v"}},
		{"look", keys.Look(), []any{2, "k", "{k}:fence"}},
		{"", keys.Announce(announcement), []any{"setlock:k", "acquired 7 1000 6 v"}},
		{"", protocol.Wait(2, time.Second), []any{2, 1000}},
	} {
		for name, command := range map[string]protocol.Command{"EVALSHA": test.command, "EVAL": test.command.WithSource()} {
			args := command.Args
			if test.script != "" {
				if command.Name != name || protocol.NameOf(fmt.Sprint(args[0])) != test.script {
					t.Errorf("%s: %s %.20v, want %s of that script", test.script, command.Name, args[0], name)
				}
				args = args[1:]
			}
			if got, want := fmt.Sprint(args...), fmt.Sprint(test.want...); got != want {
				t.Errorf("%s: arguments %v, want %v", command.Name, args, test.want)
			}
		}
	}
	if got := protocol.NameOf("GET"); got != "" {
		t.Errorf("NameOf of what is no script = %q", got)
	}
}

func TestFenceKeySharesTheSlotOfTheKey(t *testing.T) {
	for key, want := range map[string]string{
		"plain":     "{plain}:fence",
		"{tag}:x":   "{tag}:x:fence",
		"x{tag}y":   "x{tag}y:fence",
		"open{only": "{open{only}:fence",
		"empty{}":   "{empty{}}:fence",
	} {
		look := protocol.NewKeys(key).Look()
		if got := look.Args[3]; got != want {
			t.Errorf("the fence key of %q is %q, want %q", key, got, want)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]int64{
		math.MinInt64: 1, -1: 1, 0: 1, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2,
		time.Second: 1000, math.MaxInt64: math.MaxInt64/1_000_000 + 1,
	} {
		if got := protocol.Milliseconds(d); got != want {
			t.Errorf("Milliseconds(%d) = %d, want %d", d, got, want)
		}
	}
}

func TestRemainingTime(t *testing.T) {
	for pttl, want := range map[int64]time.Duration{
		-1: -time.Millisecond, 0: time.Millisecond, 1: time.Millisecond, 1500: 1500 * time.Millisecond, -2: time.Millisecond,
		math.MaxInt64: math.MaxInt64 / time.Millisecond * time.Millisecond, math.MinInt64: time.Millisecond,
	} {
		if got := protocol.RemainingTime(pttl); got != want {
			t.Errorf("RemainingTime(%d) = %v, want %v", pttl, got, want)
		}
	}
}

func TestOwnerOf(t *testing.T) {
	for value, want := range map[string]struct {
		owner string
		ours  bool
	}{
		protocol.NewValue("host:1"):     {"host:1", true},
		protocol.NewValue(""):           {"", true},
		"":                              {"", false},
		"host:1":                        {"host:1", false},
		"abcdefghijklmnopqrstuvwxyz:x":  {"abcdefghijklmnopqrstuvwxyz:x", false},
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ2:x": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ2:x", false},
	} {
		if owner, ours := protocol.OwnerOf(value); owner != want.owner || ours != want.ours {
			t.Errorf("OwnerOf(%q) = %q, %v, want %q, %v", value, owner, ours, want.owner, want.ours)
		}
	}
	if a, b := protocol.NewValue("x"), protocol.NewValue("x"); a == b {
		t.Errorf("two acquisitions store %q", a)
	}
}

func TestParseFence(t *testing.T) {
	for s, want := range map[string]int64{
		"": 0, "0": 0, "17": 17, "-1": 0, "+5": 0, "x": 0, "1.5": 0, fmt.Sprint(math.MaxInt64): math.MaxInt64,
	} {
		if got := protocol.ParseFence(s); got != want {
			t.Errorf("ParseFence(%q) = %d, want %d", s, got, want)
		}
	}
}

// Whatever Redis answers: no panic, and an error for what no script returns.

func FuzzReplies(f *testing.F) {
	f.Add(int64(1), int64(2), int64(1), "x")
	f.Add(int64(-1), int64(-1), int64(0), "")
	f.Add(int64(1), int64(0), int64(0), "a fence of 0")
	f.Fuzz(func(t *testing.T, a, b, c int64, s string) {
		bytes := []byte(s)
		for _, reply := range []any{nil, a, bytes, s, []any{}, []any{a}, []any{a, bytes}, []any{bytes, b}, []any{a, b, bytes}, []any{a, b, c, a}, redis.Error(s)} {
			if got, err := protocol.ParseAcquire(reply); err == nil {
				t.Errorf("ParseAcquire(%v) = %+v", reply, got)
			}
			if got, err := protocol.ParseLook(reply); err == nil {
				t.Errorf("ParseLook(%v) = %+v", reply, got)
			}
			_, isInt := reply.(int64)
			isBool := isInt && (a == 0 || a == 1)
			if got, err := protocol.ParseRenew(reply); (err == nil) != isBool || got != (isBool && a == 1) {
				t.Errorf("ParseRenew(%v) = %v, %v", reply, got, err)
			}
			if got, err := protocol.ParseRelease(reply); (err == nil) != isBool || got != (isBool && a == 1) {
				t.Errorf("ParseRelease(%v) = %v, %v", reply, got, err)
			}
			if got, mine, err := protocol.ParseExtend(reply); (err == nil) != (isInt && a >= 0) || mine != (isInt && a > 0) || mine != (got > 0) {
				t.Errorf("ParseExtend(%v) = %v, %v, %v", reply, got, mine, err)
			}
			if got, err := protocol.ParseWait(reply); (err == nil) != (isInt && a >= 0) || err == nil && got != a {
				t.Errorf("ParseWait(%v) = %v, %v", reply, got, err)
			}
		}

		got, err := protocol.ParseAcquire([]any{a, b})
		outcome := protocol.Outcome(a)
		valid := outcome == protocol.Mine || outcome == protocol.Other
		if valid != (err == nil) || valid && got != (protocol.Acquisition{Outcome: outcome, Remaining: protocol.RemainingTime(b)}) {
			t.Errorf("ParseAcquire({%d, %d}) = %+v, %v", a, b, got, err)
		}
		got, err = protocol.ParseAcquire([]any{a, b, c})
		valid = outcome == protocol.Acquired && b > c && c >= 0 // fences increase
		if valid != (err == nil) || valid && got != (protocol.Acquisition{Outcome: outcome, Fence: b, Previous: c}) {
			t.Errorf("ParseAcquire({%d, %d, %d}) = %+v, %v", a, b, c, got, err)
		}
		if protocol.Wrote([]any{a, b, c}) != valid || protocol.Wrote([]any{int64(protocol.Other), b}) || protocol.Wrote(a) != (a != 0) {
			t.Errorf("Wrote is wrong about %d, %d, %d", a, b, c)
		}

		sight, err := protocol.ParseLook([]any{a, []byte(s), bytes})
		if err != nil {
			t.Fatalf("an error for what the script may return: %v", err)
		}
		if sight.Held != (a != -2) || sight.Held && (sight.Remaining == 0 || sight.Value != s) || sight.Fence != s {
			t.Errorf("{%d, %q, %q} became %+v", a, s, s, sight)
		}
	})
}

func FuzzAnnouncement(f *testing.F) {
	f.Add("acquired 12 1000 11 ABCDEFGHIJKLMNOPQRSTUVWXYZ:owner")
	f.Add("released ABCDEFGHIJKLMNOPQRSTUVWXYZ:owner")
	f.Add("acquired   x")
	f.Add("acquired 0 1 0 v")
	f.Fuzz(func(t *testing.T, message string) {
		a, ok := protocol.ParseAnnouncement(message)
		if !ok {
			return
		}
		if a.Acquired && (a.Fence <= 0 || a.Lease <= 0) {
			t.Errorf("%q became %+v", message, a)
		}
		if again, ok := protocol.ParseAnnouncement(a.String()); !ok || again != a {
			t.Errorf("%q became %+v, and its text %q became %+v", message, a, a, again)
		}
		if !a.Acquired && a.String() != message {
			t.Errorf("%q became %q", message, a)
		}
	})
}

// What the scripts return and publish, their headers say.
func TestScriptsAreDocumented(t *testing.T) {
	for _, command := range []protocol.Command{
		keys.Acquire("v", time.Second, true, "", nil), keys.RenewBoth("v", 7, time.Second),
		keys.Extend("v", 7, time.Second, 0), keys.Release(true, "v"), keys.Look(),
	} {
		withSource := command.WithSource()
		source := fmt.Sprint(withSource.Args[0])
		header, _, _ := strings.Cut(source, "\n\n")
		n := command.Args[1].(int)
		for i := 1; i <= n; i++ {
			if !strings.Contains(header, fmt.Sprintf("-- KEYS[%d]", i)) {
				t.Errorf("%.30q does not document KEYS[%d]", header, i)
			}
		}
		for i := 1; i <= len(command.Args)-2-n; i++ {
			if !strings.Contains(header, fmt.Sprintf("-- ARGV[%d]", i)) {
				t.Errorf("%.30q does not document ARGV[%d]", header, i)
			}
		}
		if !slices.ContainsFunc(strings.Split(header, "\n"), func(line string) bool { return strings.HasPrefix(line, "-- Returns") }) {
			t.Errorf("%.30q does not document what it returns", header)
		}
	}
}
