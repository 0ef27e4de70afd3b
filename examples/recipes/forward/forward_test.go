package forward_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/examples/recipes/forward"
	"example.com/setlock/examples/recipes/internal/recipetest"
	"example.com/setlock/internal/leaktest"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type serve = func(w http.ResponseWriter, r *http.Request, fence int64)

// A node is a process that serves HTTP on a port of its own.
type node struct {
	*httptest.Server
	election *election.Election
}

// newNode starts a process that is no candidate yet.
func newNode(t *testing.T, srv *setlocktest.Server, s serve) *node {
	t.Helper()
	h := &forward.Handler{Serve: s}
	n := &node{Server: httptest.NewServer(h)}
	t.Cleanup(n.Close)
	n.election = &election.Election{
		Lock:      &setlock.Lock{Key: "web", Pool: srv.Pool(), Owner: n.Listener.Addr().String()},
		OnElected: h.Lead,
	}
	h.Election = n.election
	return n
}

// run runs the election of n until t ends.
func (n *node) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.election.Run(ctx) }() // joined by the cleanup
	t.Cleanup(func() {
		cancel()
		if err := recipetest.Receive(t, "the end of Run", ended); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// newPair starts a leader and a follower that knows the leader.
func newPair(t *testing.T, srv *setlocktest.Server, s serve) (leader, follower *node) {
	t.Helper()
	leader, follower = newNode(t, srv, s), newNode(t, srv, s)
	leader.run(t)
	recipetest.Eventually(t, "a leader", leader.election.IsLeader)
	follower.run(t)
	follower.awaitLeader(t, leader.election.Lock.Owner)
	return leader, follower
}

func (n *node) awaitLeader(t *testing.T, owner string) {
	t.Helper()
	recipetest.Eventually(t, "the leader "+owner, func() bool { return n.election.Leader().Owner == owner })
}

// post sends a request to n, and returns the response with its body.
func (n *node) post(t *testing.T, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URL+"/path?q=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "public.example.com"
	for _, name := range header {
		r.Header.Set(name, "x")
	}
	response, err := n.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(b)
}

func (n *node) wantRefused(t *testing.T, code int, header ...string) {
	t.Helper()
	response, body := n.post(t, "", header...)
	if response.StatusCode != code {
		t.Errorf("status %d, %q, want %d", response.StatusCode, body, code)
	}
	if again := response.Header.Get("Retry-After") != ""; again != (code == http.StatusServiceUnavailable) {
		t.Errorf("status %d, and Retry-After is %q", code, response.Header.Get("Retry-After"))
	}
}

// echo answers with what has arrived.
func echo(w http.ResponseWriter, r *http.Request, fence int64) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %s %d", r.Method, r.Host, r.URL, b, fence)
}

func TestFollowerForwards(t *testing.T) {
	srv := setlocktest.NewServer(t)
	leader, follower := newPair(t, srv, echo)
	want := fmt.Sprintf("POST public.example.com /path?q=1 hello %d", leader.election.Leader().Fence)
	for _, n := range []*node{leader, follower} {
		if response, got := n.post(t, "hello"); response.StatusCode != http.StatusOK || got != want {
			t.Errorf("status %d, %q, want %q", response.StatusCode, got, want)
		}
	}

	leader.election.Resign()
	recipetest.Eventually(t, "the follower leads", follower.election.IsLeader)
	leader.awaitLeader(t, follower.election.Lock.Owner)
	want = fmt.Sprintf("POST public.example.com /path?q=1 hello %d", follower.election.Leader().Fence)
	if response, got := leader.post(t, "hello"); response.StatusCode != http.StatusOK || got != want {
		t.Errorf("after a hand-over: status %d, %q, want %q", response.StatusCode, got, want)
	}
}

func TestNobodyLeads(t *testing.T) {
	srv := setlocktest.NewServer(t)
	newNode(t, srv, echo).wantRefused(t, http.StatusServiceUnavailable)
}

// A request is forwarded once: two processes that each take the other for the leader make no loop.
func TestForwardedOnce(t *testing.T) {
	srv := setlocktest.NewServer(t)
	leader, follower := newPair(t, srv, echo)
	follower.wantRefused(t, http.StatusServiceUnavailable, "X-Forwarded-To-Leader")
	if response, _ := leader.post(t, "", "X-Forwarded-To-Leader"); response.StatusCode != http.StatusOK {
		t.Errorf("the leader refuses a forwarded request with %d", response.StatusCode)
	}
}

// A value that another program has set is no address.
func TestKeySetByHand(t *testing.T) {
	srv := setlocktest.NewServer(t)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request was sent to the address that another program has set")
	}))
	defer other.Close()
	n := newNode(t, srv, echo)
	c := srv.Pool().Get()
	defer c.Close()
	if _, err := redis.String(c.Do("SET", "web", other.Listener.Addr().String(), "PX", 600_000)); err != nil {
		t.Fatal(err)
	}
	n.run(t)
	n.awaitLeader(t, other.Listener.Addr().String())
	n.wantRefused(t, http.StatusServiceUnavailable)
}

func TestLeaderCannotBeReached(t *testing.T) {
	srv := setlocktest.NewServer(t)
	leader, follower := newPair(t, srv, echo)
	leader.Close()
	follower.wantRefused(t, http.StatusServiceUnavailable)
}

// The leader may have done what was asked, so the client is not told to repeat the request.
func TestLeaderBreaksTheConnection(t *testing.T) {
	srv := setlocktest.NewServer(t)
	_, follower := newPair(t, srv, func(http.ResponseWriter, *http.Request, int64) { panic(http.ErrAbortHandler) })
	follower.wantRefused(t, http.StatusBadGateway)
}

// When the leadership moves, the context of a request ends, and nobody else is elected before Serve
// has returned.
func TestRequestUnderWay(t *testing.T) {
	srv := setlocktest.NewServer(t)
	causes, proceed := make(chan error, 1), make(chan struct{})
	begun := make(chan struct{}, 1)
	leader, follower := newPair(t, srv, func(w http.ResponseWriter, r *http.Request, fence int64) {
		begun <- struct{}{}
		<-r.Context().Done()
		causes <- context.Cause(r.Context())
		<-proceed
		http.Error(w, "the leadership has ended", http.StatusServiceUnavailable)
	})
	codes := make(chan int, 1)
	go func() { // joined by Receive
		defer close(codes) // also when post fails t
		response, _ := follower.post(t, "")
		codes <- response.StatusCode
	}()
	recipetest.Receive(t, "a request", begun)
	leader.election.Resign()
	if err := recipetest.Receive(t, "the end of the context", causes); !errors.Is(err, election.ErrResigned) {
		t.Errorf("the context ended with %v, want ErrResigned", err)
	}
	leader.wantRefused(t, http.StatusServiceUnavailable) // a new request is not served
	if h, err := follower.election.Lock.Holder(t.Context()); err != nil || h.Owner != leader.election.Lock.Owner {
		t.Errorf("the holder is %v, %v, want the leader, because its request still runs", h, err)
	}
	close(proceed)
	if code := recipetest.Receive(t, "the response", codes); code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want that of Serve", code)
	}
	recipetest.Eventually(t, "the follower leads", follower.election.IsLeader)
}

// A client that does not go on with its request does not hold the leadership.
func TestSlowClientDelaysNoHandOver(t *testing.T) {
	srv := setlocktest.NewServer(t)
	begun := make(chan struct{}, 1)
	leader, follower := newPair(t, srv, func(w http.ResponseWriter, r *http.Request, fence int64) {
		begun <- struct{}{}
		echo(w, r, fence)
	})
	body, client := io.Pipe()
	defer client.Close()
	ended := make(chan error, 1)
	go func() { // joined by Receive
		response, err := leader.Client().Post(leader.URL, "text/plain", body)
		if err == nil {
			response.Body.Close()
		}
		ended <- nil
	}()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	recipetest.Receive(t, "a request", begun)
	leader.election.Resign()
	recipetest.Eventually(t, "the follower leads", follower.election.IsLeader)
	client.Close()
	recipetest.Receive(t, "the end of the request", ended)
}
