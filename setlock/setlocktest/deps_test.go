package setlocktest_test

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// modules returns the modules that a program downloads and links for these packages.
func modules(t *testing.T, packages ...string) []string {
	t.Helper()
	args := append([]string{"list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}"}, packages...)
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go %v: %v", args, err)
	}
	all := make(map[string]bool)
	for path := range strings.FieldsSeq(string(out)) {
		all[path] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// Who does not import setlocktest gets nothing of it. Who does gets the embedded Redis, and no
// more.
func TestModules(t *testing.T) {
	base := []string{"example.com/setlock", "github.com/cenkalti/backoff/v4", "github.com/gomodule/redigo"}
	if got := modules(t, "example.com/setlock/setlock", "example.com/setlock/setlock/redispool", "example.com/setlock/election"); !slices.Equal(got, base) {
		t.Errorf("setlock, redispool and election need %v, want %v", got, base)
	}
	embedded := []string{"example.com/setlock", "github.com/alicebob/miniredis/v2", "github.com/gomodule/redigo", "github.com/yuin/gopher-lua"}
	if got := modules(t, "example.com/setlock/setlock/setlocktest"); !slices.Equal(got, embedded) {
		t.Errorf("setlocktest needs %v, want %v", got, embedded)
	}
}
