// Package fencing is a recipe: a table in PostgreSQL that refuses the writes of an old leader.
package fencing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Schema has one row for each resource: the greatest fencing token that has written to it.
const Schema = `CREATE TABLE IF NOT EXISTS fences (resource text PRIMARY KEY, fence bigint NOT NULL)`

// claim changes no row if a later leader has written to the resource. Until the transaction ends, it
// locks the row, so that the transactions of two leaders come one after the other.
const claim = `INSERT INTO fences (resource, fence) VALUES ($1, $2)
	ON CONFLICT (resource) DO UPDATE SET fence = EXCLUDED.fence WHERE fences.fence <= EXCLUDED.fence`

// limit ends the transaction of a process that is stopped in the middle of it. Without the limit,
// this process would block every later leader.
const limit = `SET LOCAL idle_in_transaction_session_timeout = '5s'`

// ErrStale means that a later leader has written to the resource. Nothing was written.
var ErrStale = errors.New("stale fencing token")

// Write calls write in a transaction that has claimed the resource for fence, and commits it. fence
// comes from setlock.FenceFromContext, and ctx is the context of the leader: when ctx ends before
// the commit, the transaction is rolled back.
//
// What the write depends on must be read through tx too, because an old leader may write until the
// claim. After an error that is not ErrStale, the transaction may have been committed.
func Write(ctx context.Context, db *sql.DB, resource string, fence int64, write func(tx *sql.Tx) error) error {
	if fence <= 0 {
		return fmt.Errorf("%s: no fencing token", resource)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if _, err := tx.ExecContext(ctx, limit); err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, claim, resource, fence)
	if err != nil {
		return err
	}
	switch claimed, err := result.RowsAffected(); {
	case err != nil:
		return err
	case claimed == 0:
		return fmt.Errorf("%s: %w %d", resource, ErrStale, fence)
	}
	if err := write(tx); err != nil {
		return err
	}
	return tx.Commit()
}
