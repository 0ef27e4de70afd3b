//go:build !unix

package redistest

import "os"

// No process can be stopped here: Pause and Continue fail their test. The package compiles all the
// same, because setlocktest needs another part of it.
var (
	stop = os.Interrupt
	cont = os.Interrupt
)
