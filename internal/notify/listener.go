package notify

// A listener is what a subscription receives.
type listener struct {
	signal  func() // called when there is something new; under Notifier.mu
	message []byte // the newest, not taken yet; nil for none
	missed  bool   // messages may have been missed since the last Take
	up      bool   // messages arrive
}

// wake puts an element into c, which has one slot, unless it is full.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
