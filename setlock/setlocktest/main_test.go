package setlocktest_test

import (
	"os"
	"testing"

	"example.com/setlock/internal/leaktest"
)

func TestMain(m *testing.M) {
	if os.Getenv(hangs) != "" {
		os.Exit(m.Run()) // whose end goleak does not see
	}
	leaktest.Main(m)
}
