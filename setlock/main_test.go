package setlock_test

import (
	"testing"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
)

const lease = locktest.Lease

func TestMain(m *testing.M) { redistest.Main(m) }
