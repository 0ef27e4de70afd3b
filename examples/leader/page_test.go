package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// newPage serves the page of a demo that only notes its orders.
func newPage(t *testing.T) (p *page, orders <-chan string) {
	t.Helper()
	d := &demo{config: config{key: "k"}, orders: make(chan order), over: make(chan struct{})}
	p, err := servePage(d, pageAddr)
	if err != nil {
		t.Fatal(err)
	}
	noted, answered := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(answered)
		for {
			select {
			case o := <-d.orders:
				noted <- o.verb + " " + o.id
				o.result <- nil
			case <-d.over:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(d.over)
		<-answered
		p.close()
		http.DefaultClient.CloseIdleConnections()
	})
	return p, noted
}

// No button is pressed by another site: not by its name that resolves to the loopback, not by its
// scripts and forms, and not without the token that only a reader of the page has.
func TestOtherSitesPressNothing(t *testing.T) {
	p, orders := newPage(t)
	addr := p.listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	for _, test := range []struct {
		name, method, path, host string
		header                   map[string]string
		want                     int
	}{
		{"the page", "GET", "/", "", nil, http.StatusOK},
		{"the page by name", "GET", "/", "localhost:" + port, nil, http.StatusOK},
		{"the page of another host", "GET", "/", "evil.example:" + port, nil, http.StatusMisdirectedRequest},
		{"the page of a host like ours", "GET", "/", "127.0.0.1.evil.example:" + port, nil, http.StatusMisdirectedRequest},
		{"events of another host", "GET", "/events", "evil.example", nil, http.StatusMisdirectedRequest},
		{"a button", "POST", "/do/kill/a", "", map[string]string{tokenHeader: p.token, "Origin": "http://" + addr, "Sec-Fetch-Site": "same-origin"}, http.StatusNoContent},
		{"a button by another host", "POST", "/do/kill/x", "evil.example:" + port, map[string]string{tokenHeader: p.token, "Origin": "http://evil.example:" + port}, http.StatusMisdirectedRequest},
		{"another origin", "POST", "/do/kill/x", "", map[string]string{tokenHeader: p.token, "Origin": "http://evil.example"}, http.StatusForbidden},
		{"another port", "POST", "/do/kill/x", "", map[string]string{tokenHeader: p.token, "Origin": "http://127.0.0.1:1"}, http.StatusForbidden},
		{"no origin that can be named", "POST", "/do/kill/x", "", map[string]string{tokenHeader: p.token, "Origin": "null"}, http.StatusForbidden},
		{"cross-site", "POST", "/do/kill/x", "", map[string]string{tokenHeader: p.token, "Sec-Fetch-Site": "cross-site"}, http.StatusForbidden},
		{"same-site", "POST", "/do/kill/x", "", map[string]string{tokenHeader: p.token, "Sec-Fetch-Site": "same-site"}, http.StatusForbidden},
		{"no token", "POST", "/do/kill/x", "", nil, http.StatusForbidden},
		{"a wrong token", "POST", "/do/kill/x", "", map[string]string{tokenHeader: "guess", "Origin": "http://" + addr}, http.StatusForbidden},
		{"a GET", "GET", "/do/kill/x", "", map[string]string{tokenHeader: p.token}, http.StatusMethodNotAllowed},
		{"a HEAD", "HEAD", "/do/kill/x", "", map[string]string{tokenHeader: p.token}, http.StatusMethodNotAllowed},
		{"no path", "GET", "/secret", "", nil, http.StatusNotFound},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+addr+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = test.host
		for name, value := range test.header {
			r.Header.Set(name, value)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != test.want {
			t.Errorf("%s: %s, want %d", test.name, answer.Status, test.want)
		}
		if policy := answer.Header.Get("Content-Security-Policy"); test.want == http.StatusOK && !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: the policy is %q", test.name, policy)
		}
	}
	if got := <-orders; got != "kill a" {
		t.Errorf("the first order is %q, want \"kill a\"", got)
	}
	if len(orders) > 0 {
		t.Errorf("another site has pressed a button: %q", <-orders)
	}
}

// Before its first event, the page claims nothing about the demo, and has no button that can be used.
func TestPageBeforeItsFirstEvent(t *testing.T) {
	p, _ := newPage(t)
	page, _, _ := strings.Cut(get(t, "http://"+p.listener.Addr().String()), "<script>")
	if !strings.Contains(page, `aria-live="polite">Connecting…</p>`) {
		t.Error("the headline is not Connecting…")
	}
	buttons := regexp.MustCompile(`<button [^>]*>`).FindAllString(page, -1)
	if len(buttons) != 5 {
		t.Errorf("buttons %q, want 5", buttons)
	}
	for _, b := range buttons {
		if !strings.Contains(b, `aria-disabled="true"`) {
			t.Errorf("the button %s can be used", b)
		}
	}
}

// A browser that reads nothing holds up neither the demo nor other browsers, and is left behind.
func TestStalledBrowser(t *testing.T) {
	p, _ := newPage(t)
	addr := p.listener.Addr().String()
	stalled, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	stalled.(*net.TCPConn).SetReadBuffer(1 << 10)
	stalled.Write([]byte("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"))

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/events", nil)
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		defer answer.Body.Close()
	}
	// watchers waits for so many streams.
	watchers := func(want int) {
		t.Helper()
		for {
			p.d.views.mu.Lock()
			n := len(p.d.views.watchers)
			p.d.views.mu.Unlock()
			if n == want {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%d streams, want %d", n, want)
			case <-time.After(time.Millisecond):
			}
		}
	}
	watchers(2)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 16<<20)
	large := strings.Repeat("x", 1<<20)
	for i := range int64(16) {
		before := time.Now()
		p.d.views.show(func() *view { return &view{Now: i, Headline: large} })
		if took := time.Since(before); took > time.Second {
			t.Fatalf("showing a view took %v", took)
		}
		var v view
		for lines.Scan() && lines.Text() == "" {
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &v); err != nil || v.Now != i {
			t.Fatalf("the other browser receives %d (%v), want %d", v.Now, err, i)
		}
	}
	watchers(1) // the stalled one is left behind after streamTimeout
}

// A demo that is killed leaves nothing behind, even if a replica is paused. A demo that is interrupted
// does not either.
func testDemoPaused(t *testing.T, path string) {
	for _, s := range []os.Signal{os.Interrupt, os.Kill} {
		if s == os.Kill && runtime.GOOS != "linux" {
			t.Skip("only Linux continues a replica whose demo is killed")
		}
		p := start(t, path)
		url := p.await(`serves (http://\S+)`, 1)[0]
		p.await(`follows (\w)`, 2)
		token := regexp.MustCompile(`name="token" content="(\w+)"`).FindStringSubmatch(get(t, url))
		if token == nil {
			t.Fatal("the page has no token")
		}
		for _, id := range []string{"a", "b", "c"} {
			r, err := http.NewRequest("POST", url+"/do/pause/"+id, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(tokenHeader, token[1])
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusNoContent {
				t.Fatalf("pause %s: %s", id, answer.Status)
			}
		}
		http.DefaultClient.CloseIdleConnections()
		p.signal(s)
		if s == os.Kill {
			p.end(-1)
		} else {
			p.end(exitOK)
		}
		if c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
			c.Close()
			t.Error("the port of the page is still open")
		}
	}
}

// get returns the page at url.
func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
