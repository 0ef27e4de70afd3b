// Package leaktest runs the tests of a package of this module. It is a package of its own, so that
// users of setlocktest do not link goleak.
package leaktest

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package, and fails if they leave a goroutine behind. Of
// those that are parallel, eight run at a time unless -parallel says otherwise: they
// mostly wait, for real servers.
func Main(m *testing.M) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		flag.Set("test.parallel", "8")
	}
	goleak.VerifyTestMain(m)
}
