package setlock

import "sync"

// An inbox has the renewals whose subscription has received something.
type inbox struct {
	mu       sync.Mutex // guards renewals; no other lock is taken under it
	renewals []*renewal
}

func (i *inbox) add(e *renewal) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.renewals = append(i.renewals, e)
}

func (i *inbox) take() []*renewal {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.renewals
	i.renewals = nil
	return all
}

// heard records that the subscription of e has received something.
func (r *renewer) heard(e *renewal) {
	r.inbox.add(e)
	r.wake.set()
}
