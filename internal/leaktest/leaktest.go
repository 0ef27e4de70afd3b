// Package leaktest runs the tests of a package of this module. It is a package of its own, so that
// users of setlocktest do not link goleak.
package leaktest

import (
	"flag"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package, and fails if they leave a goroutine behind. Of
// those that are parallel, eight run at a time unless -parallel says otherwise: they
// mostly wait, for real servers.
//
// With the race detector, the tests run on one processor. On two, the receives from two timers of
// one bubble of testing/synctest can overlap, and the race detector then crashes
// (https://go.dev/issue/78156).
func Main(m *testing.M) {
	flag.Parse()
	if RaceDetector() {
		runtime.GOMAXPROCS(1)
	}
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		flag.Set("test.parallel", "8")
	}
	goleak.VerifyTestMain(m)
}

// RaceDetector reports whether this program was built with the race detector.
func RaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
