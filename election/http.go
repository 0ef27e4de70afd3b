package election

import (
	"encoding/json"
	"net/http"
)

// status is the body of the answer of ServeHTTP.
type status struct {
	Key     string `json:"key"`
	Owner   string `json:"owner"`   // this candidate
	Leading bool   `json:"leading"` // whether it leads
	Leader  string `json:"leader"`  // who does, as last seen
	Fence   int64  `json:"fence"`   // the leader's fencing token
}

// ServeHTTP answers GET and HEAD with 200 on the leader and 503 elsewhere, as
// [Election.IsLeader] judges at the request, and a JSON body of the election's
// "key", this candidate's "owner", whether it is "leading", and "leader" and "fence"
// of whoever leads, as last seen. It asks nobody, so that a load balancer may ask it
// often.
func (e *Election) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	if e.Lock == nil {
		http.Error(w, errNoLock.Error(), http.StatusServiceUnavailable)
		return
	}
	leader := e.Leader()
	s := status{Key: e.Lock.Key, Owner: e.owner(), Leader: leader.Owner, Fence: leader.Fence}
	e.mu.Lock()
	t := e.term
	e.mu.Unlock()
	if t.leads() {
		s.Leading, s.Leader, s.Fence = true, s.Owner, t.fence
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !s.Leading {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(s) // fails when the client has gone
}
