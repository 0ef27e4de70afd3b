package redispool_test

import (
	"testing"

	"example.com/setlock/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }
