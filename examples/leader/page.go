package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

const (
	// tokenHeader is the header that carries the token of the page with each button that is pressed.
	tokenHeader = "X-Token"
	// streamTimeout is how long a browser may read nothing before its stream is closed.
	streamTimeout = 5 * time.Second
	// mostBody bounds the body of a request. The buttons need none.
	mostBody = 1 << 10
)

// A page shows the demo in browsers, and has buttons that do something to it.
type page struct {
	d        *demo
	token    string // known to whoever has read the page; another site cannot
	listener net.Listener
	server   *http.Server
	done     chan struct{} // closed when serve has returned
}

// servePage listens on a loopback address and serves the page until close.
func servePage(d *demo, addr string) (*page, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &page{d: d, token: rand.Text(), listener: l, done: make(chan struct{})}
	p.server = &http.Server{Handler: p.handler(), ReadHeaderTimeout: httpTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() { // joined by close
		defer close(p.done)
		p.server.Serve(l) // returns when close is called
	}()
	return p, nil
}

// close ends the page and all its streams. The loop of the demo has returned, so no handler waits
// for it.
func (p *page) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if p.server.Shutdown(ctx) != nil { // gives the streams the time to send the last state
		p.server.Close()
	}
	<-p.done
}

func (p *page) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.show)
	mux.HandleFunc("GET /events", p.stream)
	mux.HandleFunc("POST /do/{verb}", p.press)
	mux.HandleFunc("POST /do/{verb}/{id}", p.press)
	// CrossOriginProtection refuses a POST that another site has caused, by Sec-Fetch-Site or Origin.
	return p.guard(http.NewCrossOriginProtection().Handler(mux))
}

// guard refuses requests for other hosts: a site whose name resolves to the loopback would otherwise
// be the same site as the page. It also forbids to frame the page and to load anything from elsewhere.
func (p *page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this page is for the loopback only", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, mostBody)
		next.ServeHTTP(w, r)
	})
}

func (p *page) show(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	pageTemplate.Execute(w, struct{ Token, Key string }{p.token, p.d.key}) // fails when the browser has left
}

// stream sends the state of the demo as server-sent events, until the browser leaves, stops reading,
// or the demo is over.
func (p *page) stream(w http.ResponseWriter, r *http.Request) {
	views, done := p.d.views.watch()
	defer done()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	out.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-p.d.over:
			return
		case v := <-views:
			data, err := json.Marshal(v)
			if err != nil {
				panic(err) // a view has no value that JSON lacks
			}
			out.SetWriteDeadline(time.Now().Add(streamTimeout))
			if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil || out.Flush() != nil {
				return
			}
		}
	}
}

// press has the demo do what a button says.
func (p *page) press(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(p.token)) != 1 {
		http.Error(w, "this page is of an earlier demo: load it again", http.StatusForbidden)
		return
	}
	err := p.d.do(order{verb: r.PathValue("verb"), id: r.PathValue("id"), byHand: true})
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
