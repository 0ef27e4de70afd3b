package election

import (
	"encoding/json"
	"net/http"
	"time"
)

// A status is the JSON body that ServeHTTP writes.
type status struct {
	Key     string    `json:"key"`
	Owner   string    `json:"owner"`         // the Owner of this candidate
	Leading bool      `json:"leading"`       // whether this candidate leads
	Leader  string    `json:"leader"`        // the Owner of the leader, as last seen
	Fence   int64     `json:"fence"`         // the leader's fencing token, as last seen
	Seen    time.Time `json:"seen,omitzero"` // when Redis last told that there is a leader
}

// ServeHTTP answers GET and HEAD with status 200 if this candidate leads and with status 503
// otherwise, as [Election.IsLeader] judges at the time of the request. The body is a JSON object:
//
//	key      the Key of the election
//	owner    the Owner of this candidate
//	leading  whether this candidate leads
//	leader   the Owner of the leader, as last seen; "" if nobody is known to lead
//	fence    the fencing token of the leader, as last seen
//	seen     when Redis last told this candidate that there is a leader, which may be this candidate;
//	         an RFC 3339 time in UTC, by the clock of this candidate; missing before the first
//
// ServeHTTP sends nothing to Redis, so a load balancer may call it often.
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
	e.mu.Lock()
	t := e.term
	s := status{Key: e.Lock.Key, Owner: e.owner(), Leader: e.leader.Owner, Fence: e.leader.Fence, Seen: e.seen.time().UTC()}
	e.mu.Unlock()
	if t.leads() {
		s.Leading, s.Leader, s.Fence = true, s.Owner, t.fence
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !s.Leading {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(s) // fails when the client has disconnected
}
