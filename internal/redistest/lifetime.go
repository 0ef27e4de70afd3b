package redistest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// lifetime is longer than any test runs, in virtual time.
const lifetime = 48 * time.Hour

// boundLifetime ends the process when t has run for lifetime. While a session or a watch lives,
// virtual time never stops. So a test in a bubble that waits for what never comes would run until
// the time-out of go test, instead of failing because all its goroutines are blocked.
func boundLifetime(t testing.TB) {
	timer := time.AfterFunc(lifetime, func() {
		panic(fmt.Sprintf("%s has not ended after %v:\n\n%s", t.Name(), lifetime, bubbleStacks()))
	})
	t.Cleanup(func() { timer.Stop() })
}

// bubbleStacks returns the stacks of the goroutines in the bubble of the caller. Outside of a bubble, it
// returns those of all goroutines.
func bubbleStacks() string {
	buffer := make([]byte, 1<<24)
	stacks := string(buffer[:runtime.Stack(buffer, true)])
	head, _, _ := strings.Cut(stacks, "\n") // of the caller: goroutine 9 [running, synctest bubble 4]:
	_, bubble, found := strings.Cut(head, ", synctest")
	if !found {
		return stacks
	}
	var own []string
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if head, _, _ := strings.Cut(stack, "\n"); strings.HasSuffix(head, bubble) {
			own = append(own, stack)
		}
	}
	return strings.Join(own, "\n\n")
}
