//go:build !unix

package redistest

import "time"

// CPUTime returns 0: processor time is not measured here.
func CPUTime() time.Duration { return 0 }
