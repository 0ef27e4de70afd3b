package redispool_test

import (
	"testing"

	"example.com/setlock/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
