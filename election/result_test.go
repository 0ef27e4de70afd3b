package election_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// What OnElected returns, whenever it does, is told once in Changes and once in the log. Run returns
// it when its ctx has ended.
func TestErrorOfOnElectedIsNeverLost(t *testing.T) {
	failure := errors.New("failure")
	for how, cause := range map[string]error{"itself": nil, "loss": setlock.ErrLost, "resign": election.ErrResigned, "stop": context.Canceled} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				terms := 0
				a := w.candidate("a", func(ctx context.Context) error {
					if terms++; terms > 1 {
						<-ctx.Done()
						return fmt.Errorf("wrapped: %w", ctx.Err())
					}
					if how != "itself" {
						<-ctx.Done()
						time.Sleep(time.Second)
					}
					return failure
				})
				log := logOf(a)
				changes := changesOf(t, a)
				ctx, cancel := context.WithCancel(t.Context())
				result := make(chan error, 1)
				go func() { result <- a.Run(ctx) }()
				time.Sleep(lease / 2)
				switch how {
				case "loss":
					w.server.Del("k")
				case "resign":
					a.Resign()
				case "stop":
					cancel()
				}
				time.Sleep(2 * lease)
				cancel()
				if err := <-result; how == "stop" && err != failure || how != "stop" && err != nil {
					t.Errorf("Run = %v", err)
				}
				var told []error
				for c := range changes {
					if errors.Is(c.Err, failure) {
						told = append(told, c.Err)
						if c.Leading || c.Leader != "" || how != "loss" && cause != nil && !errors.Is(c.Err, cause) {
							t.Errorf("told %+v, want that nobody leads, because of %v", c, cause)
						}
					}
				}
				if len(told) != 1 {
					t.Errorf("told %v, want the failure once", told)
				}
				lines, losses := 0, 0
				for _, r := range records(t, log) {
					text := fmt.Sprint(r["err"])
					if strings.Contains(text, "failure") {
						lines++
						if r["level"] != "WARN" {
							t.Errorf("logged %v, want a warning", r)
						}
					}
					if strings.Contains(text, "lock lost") {
						losses++
					}
				}
				if lines != 1 || how == "loss" && losses != 1 {
					t.Errorf("logged %d failures and %d losses, want each once", lines, losses)
				}
			})
		})
	}
}

// The key was taken while OnElected was about to return, which only the release finds. That is told.
func TestLossThatTheReleaseFindsIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		terms := 0
		a := w.candidate("a", func(ctx context.Context) error {
			if terms++; terms == 1 {
				time.Sleep(lease)
				w.server.Del("k")
				return nil
			}
			<-ctx.Done()
			return nil
		})
		log := logOf(a)
		changes := changesOf(t, a)
		stop := start(t, a)
		time.Sleep(3 * lease)
		stop()
		next(t, changes, 0)
		if c := next(t, changes, 0); c.Leading || c.Err != nil {
			t.Errorf("told %+v, want the end", c)
		}
		if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
			t.Errorf("told %+v, want the loss", c)
		}
		found := 0
		for _, r := range records(t, log) {
			if r["msg"] == "lock lost before its release" && r["level"] == "WARN" && r["fence"] != nil {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d warnings, want one", found)
		}
	})
}
