package setlock_test

import (
	"testing"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/locktest"
)

const lease = locktest.Lease

func TestMain(m *testing.M) { leaktest.Main(m) }
