package election_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
)

func TestServeHTTP(t *testing.T) {
	ask := func(e *election.Election, method string) *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		e.ServeHTTP(answer, httptest.NewRequest(method, "/", nil))
		return answer
	}
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.candidate("a", nil), w.candidate("b", nil)
		if answer := ask(a, http.MethodGet); strings.Contains(answer.Body.String(), "seen") {
			t.Errorf("before Run: %s, want that nobody was seen", answer.Body)
		}
		start(t, a)
		synctest.Wait()
		start(t, b)
		synctest.Wait()
		for _, test := range []struct {
			e    *election.Election
			code int
		}{{a, http.StatusOK}, {b, http.StatusServiceUnavailable}} {
			answer := ask(test.e, http.MethodGet)
			var body struct {
				Key, Owner, Leader string
				Leading            bool
				Fence              int64
				Seen               time.Time
			}
			if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if answer.Code != test.code || body.Key != "k" || body.Owner != test.e.Lock.Owner || body.Leader != "a" ||
				body.Leading != (test.code == 200) || body.Fence != a.Leader().Fence || !body.Seen.Equal(time.Now()) || answer.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s answers %d, %+v", test.e.Lock.Owner, answer.Code, body)
			}
			answer = ask(test.e, http.MethodPost)
			if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") == "" {
				t.Errorf("POST answers %d", answer.Code)
			}
		}
	})
	if answer := ask(new(election.Election), http.MethodGet); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("without a Lock: %d, want 503", answer.Code)
	}
}
