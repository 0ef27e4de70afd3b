package redispool

import (
	"math/rand/v2"
	"testing"

	"example.com/setlock/internal/redistest"
)

func TestSlot(t *testing.T) {
	if got := crc16("123456789"); got != 0x31c3 {
		t.Errorf("CRC16 = %#x, want 0x31c3, the check value of XMODEM", got)
	}
	for key, as := range map[string]string{
		"{user1000}.following": "user1000",
		"foo{}{bar}":           "foo{}{bar}",
		"foo{{bar}}zap":        "{bar",
		"foo{bar}{zap}":        "bar",
		"foo{bar":              "foo{bar",
		"foo}{bar}":            "bar",
	} {
		want := int64(crc16(as)) % slots
		if got := slot(key); got != want {
			t.Errorf("slot of %q = %d, want that of %q, %d", key, got, as, want)
		}
	}
}

// A real server agrees on the slots of keys with braces here and there.
func TestSlotOnServer(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t, "--cluster-enabled", "yes")
	for range 200 {
		key := make([]byte, rand.IntN(8))
		for i := range key {
			key[i] = "{}ab\xff"[rand.IntN(5)]
		}
		if got, want := slot(string(key)), redistest.Do(t, s.Dial, "CLUSTER", "KEYSLOT", key); got != want {
			t.Errorf("slot of %q = %d, want %d", key, got, want)
		}
	}
}

// FuzzNodes checks that what a node answers is survived, and that each address is one.
func FuzzNodes(f *testing.F) {
	f.Add("MOVED 1 h:2", "h", int64(0), int64(16383), int64(1))
	f.Add("MOVED 1 ::1:2", "", int64(5), int64(4), int64(-1))
	f.Add("MOVED  :", "?", int64(0), int64(0), int64(65536))
	f.Fuzz(func(t *testing.T, refusal, host string, first, last, port int64) {
		var all []string
		if addr, ok := parseMoved(refusal, "h:1"); ok {
			all = append(all, addr)
		}
		node := []any{[]byte(host), port, []byte("id")}
		for _, reply := range []any{
			nil, host, port, []any{first}, []any{[]any{first, last}}, []any{[]any{first, host, node}},
			[]any{[]any{first, last, node, node, nil, []any{}, []any{nil, nil}, []any{port, host}}},
		} {
			all = append(all, parseSlots(reply, 1, "h:1")...)
		}
		for _, addr := range all {
			if again, err := parseAddr(addr); err != nil || again != addr {
				t.Errorf("%q is no address: %v", addr, err)
			}
		}
	})
}
