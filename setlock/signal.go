package setlock

// A signal wakes the goroutine that receives from it.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

// set wakes the goroutine, or makes its next receive succeed. set never blocks.
func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
