//go:build unix

package fencing_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"example.com/setlock/examples/recipes/fencing"
	"example.com/setlock/examples/recipes/internal/recipetest"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

const schema = `CREATE TABLE report (text text NOT NULL); INSERT INTO report VALUES ('')`

// set returns a write that sets the report.
func set(ctx context.Context, text string) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE report SET text = $1`, text)
		return err
	}
}

// newDatabase returns a database with the tables of the recipe and of the test.
func newDatabase(t *testing.T) *sql.DB {
	t.Helper()
	db := startPostgres(t)
	for _, statement := range []string{fencing.Schema, schema} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func wantReport(t *testing.T, db *sql.DB, want string) {
	t.Helper()
	var got string
	if err := db.QueryRowContext(t.Context(), `SELECT text FROM report`).Scan(&got); err != nil || got != want {
		t.Errorf("the report is %q, %v, want %q", got, err, want)
	}
}

// The recipe on a real PostgreSQL. A server is started once, because its start takes a second.
func TestWrite(t *testing.T) {
	db := newDatabase(t)
	write := func(ctx context.Context, fence int64, text string) error {
		return fencing.Write(ctx, db, t.Name(), fence, set(ctx, text))
	}

	t.Run("a late leader", func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		a := &setlock.Lock{Key: "report", Pool: srv.Pool()}
		b := &setlock.Lock{Key: "report", Pool: srv.Pool()}
		err := a.Do(t.Context(), func(late context.Context) error {
			old, _ := setlock.FenceFromContext(late)
			if err := write(late, old, "a"); err != nil {
				t.Errorf("the first write of a: %v", err)
			}
			if err := write(late, old, "a again"); err != nil {
				t.Errorf("the second write of a: %v", err)
			}

			srv.CutOff(a.Pool) // so that a does not learn of b, and its context does not end
			srv.Expire("report")
			if err := b.Do(t.Context(), func(ctx context.Context) error {
				fence, _ := setlock.FenceFromContext(ctx)
				return write(ctx, fence, "b")
			}); err != nil {
				t.Errorf("the write of b: %v", err)
			}

			if late.Err() != nil {
				t.Error("the context of a has ended, so this test shows nothing")
			}
			if err := write(late, old, "a too late"); !errors.Is(err, fencing.ErrStale) {
				t.Errorf("the late write of a: %v, want ErrStale", err)
			}
			srv.Reconnect(a.Pool)
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) && err != nil {
			t.Errorf("Do of a: %v", err)
		}
		wantReport(t, db, "b")
	})

	t.Run("another resource has a fence of its own", func(t *testing.T) {
		write(t.Context(), 1<<60, "c")
		if err := fencing.Write(t.Context(), db, "another", 1, set(t.Context(), "d")); err != nil {
			t.Error(err)
		}
		wantReport(t, db, "d")
	})

	t.Run("no fence", func(t *testing.T) {
		if err := fencing.Write(t.Context(), db, "no fence", 0, set(t.Context(), "x")); err == nil {
			t.Error("a write without a fencing token was accepted")
		}
		wantReport(t, db, "d")
	})

	// The claim and the write are one: neither remains when the write fails.
	t.Run("a write that fails claims nothing", func(t *testing.T) {
		failure := errors.New("failure")
		err := fencing.Write(t.Context(), db, "fails", 9, func(tx *sql.Tx) error {
			set(t.Context(), "x")(tx)
			return failure
		})
		if err != failure {
			t.Errorf("got %v, want the error of the write", err)
		}
		wantReport(t, db, "d")
		if err := fencing.Write(t.Context(), db, "fails", 8, set(t.Context(), "e")); err != nil {
			t.Error(err)
		}
		wantReport(t, db, "e")
	})

	t.Run("a leader that has lost commits nothing", func(t *testing.T) {
		ctx, lose := context.WithCancel(t.Context())
		err := fencing.Write(ctx, db, "lost", 1, func(tx *sql.Tx) error {
			err := set(t.Context(), "x")(tx)
			lose()
			return err
		})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("got %v, want the end of the context", err)
		}
		wantReport(t, db, "e")
	})

	// Two leaders at the same moment: the first to claim goes first, and the later leader is last.
	for _, first := range []string{"old", "new"} {
		t.Run("both at once, claimed first by the "+first, func(t *testing.T) {
			fences := map[string]int64{"old": 1, "new": 2}
			second := map[string]string{"old": "new", "new": "old"}[first]
			result := make(chan error, 1)
			err := fencing.Write(t.Context(), db, t.Name(), fences[first], func(tx *sql.Tx) error {
				go func() {
					result <- fencing.Write(t.Context(), db, t.Name(), fences[second], set(t.Context(), second))
				}()
				recipetest.Eventually(t, "the second waits for the lock of the row", func() bool {
					var waits int
					err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'`).Scan(&waits)
					return err == nil && waits > 0
				})
				return set(t.Context(), first)(tx)
			})
			if err != nil {
				t.Errorf("the %s leader, which was first: %v", first, err)
			}
			if err := recipetest.Receive(t, "the second leader", result); errors.Is(err, fencing.ErrStale) != (second == "old") {
				t.Errorf("the %s leader, which was second: %v", second, err)
			}
			wantReport(t, db, "new")
		})
	}

	// A process that is stopped in a transaction holds the lock of the row. PostgreSQL ends its
	// transaction, so that the new leader can write.
	t.Run("a leader that stops in the middle", func(t *testing.T) {
		err := fencing.Write(t.Context(), db, "stopped", 1, func(tx *sql.Tx) error {
			if err := set(t.Context(), "x")(tx); err != nil {
				return err
			}
			return fencing.Write(t.Context(), db, "stopped", 2, set(t.Context(), "f"))
		})
		if err == nil {
			t.Error("the stopped leader has committed")
		}
		wantReport(t, db, "f")
	})
}
