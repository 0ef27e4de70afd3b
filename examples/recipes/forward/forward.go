// Package forward is a recipe: followers forward HTTP requests to the leader.
package forward

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// forwarded marks a request that a follower has forwarded. It is not forwarded again.
const forwarded = "X-Forwarded-To-Leader"

// transport connects to the leader itself, without a proxy, and gives up soon if its machine is away.
var transport = &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, ResponseHeaderTimeout: 30 * time.Second}

// A Handler serves requests on the leader, and forwards them on a follower. Its method Lead is the
// OnElected of its Election. The Owner of the Lock is the address of this process, host:port, where
// the other processes can reach this Handler.
//
// A request that is under way when the leadership moves is not moved with it: the context of the
// request ends, and Serve decides what to answer. Until Serve has returned, nobody else is elected,
// unless the lock was lost. A client that sends or reads slowly cannot delay this: its connection ends
// with the leadership.
type Handler struct {
	Election *election.Election

	// Serve serves a request on the leader, whose fencing token is fence. The context of r also ends
	// when the leadership ends. Serve must return then.
	Serve func(w http.ResponseWriter, r *http.Request, fence int64)

	mu       sync.Mutex
	term     context.Context // of OnElected; nil when this process does not lead
	requests sync.WaitGroup
}

// Lead lets requests be served until ctx ends. It returns when the last of them has ended.
func (h *Handler) Lead(ctx context.Context) error {
	h.mu.Lock()
	h.term = ctx
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	h.term = nil // no request begins after this
	h.mu.Unlock()
	h.requests.Wait()
	return nil
}

// ServeHTTP answers 503 if the leader is not known or has not received the request. The client may
// then repeat it. After 502, the leader may have received it, and the client must not repeat it
// unless it is idempotent.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if term := h.join(); term != nil {
		defer h.requests.Done()
		fence, _ := setlock.FenceFromContext(term)
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer atEnd(term, func() {
			cancel(context.Cause(term))
			// A read of the body does not end with the context, and a slow client must not hold the
			// leadership.
			http.NewResponseController(w).SetReadDeadline(time.Now())
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Second))
		})()
		h.Serve(w, r.WithContext(ctx), fence)
		return
	}
	leader := h.Election.Leader()
	// Fence is 0 if nobody leads, or if another program has set the key: then Owner is no address.
	if leader.Fence == 0 || leader.Owner == h.Election.Lock.Owner || r.Header.Get(forwarded) != "" {
		fail(w, r, nil)
		return
	}
	(&httputil.ReverseProxy{Transport: transport, ErrorHandler: fail, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: leader.Owner})
		p.SetXForwarded()
		p.Out.Host = p.In.Host
		p.Out.Header.Set(forwarded, leader.Owner)
	}}).ServeHTTP(w, r)
}

// atEnd calls f when ctx has ended. The function that atEnd returns prevents the call, or waits until
// f has returned.
func atEnd(ctx context.Context, f func()) (stop func()) {
	over := make(chan struct{})
	prevent := context.AfterFunc(ctx, func() {
		defer close(over)
		f()
	})
	return func() {
		if !prevent() {
			<-over
		}
	}
}

// fail answers a request that was not served. err is nil if the request was not sent.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	if op := (*net.OpError)(nil); err != nil && !(errors.As(err, &op) && op.Op == "dial") {
		http.Error(w, "the leader has not answered", http.StatusBadGateway)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "the leader is not known or cannot be reached", http.StatusServiceUnavailable)
}

// join returns the context of the leadership, and counts a request that Lead waits for. It returns
// nil if this process does not lead.
func (h *Handler) join() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.term == nil || !h.Election.IsLeader() {
		return nil
	}
	h.requests.Add(1)
	return h.term
}
