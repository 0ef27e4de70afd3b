//go:build unix

package fencing_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"example.com/setlock/examples/recipes/internal/recipetest"
	"example.com/setlock/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// startPostgres starts a PostgreSQL of its own, on a unix socket, that ends with t. PostgreSQL
// refuses to run as root, so for root it runs as the user of the Debian package.
func startPostgres(t *testing.T) *sql.DB {
	t.Helper()
	postgres := recipetest.Program(t, "postgresql", "postgres", "/usr/lib/postgresql/*/bin/postgres")
	dir, err := os.MkdirTemp("", "fencing") // t.TempDir is in a directory that only root may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var attributes *syscall.SysProcAttr
	if os.Getuid() == 0 {
		uid, gid := ids(t, "postgres", "nobody")
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		attributes = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	data := filepath.Join(dir, "data")
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(filepath.Dir(postgres), name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attributes
		return cmd
	}
	if out, err := command("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", data).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	server := recipetest.Start(t, command("postgres", "-D", data, "-F", "-k", dir, "-c", "listen_addresses="), os.Interrupt)

	db, err := sql.Open("pgx", fmt.Sprintf("host=%s user=postgres dbname=postgres", dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	recipetest.Eventually(t, "PostgreSQL answers", func() bool {
		select {
		case <-server.Exited():
			t.Fatalf("PostgreSQL has ended: %v", server.Cmd.ProcessState)
		default:
		}
		return db.PingContext(t.Context()) == nil
	})
	return db
}

// ids returns the user and the group of the first of these users that exists.
func ids(t *testing.T, names ...string) (uid, gid int) {
	t.Helper()
	for _, name := range names {
		if u, err := user.Lookup(name); err == nil {
			uid, _ = strconv.Atoi(u.Uid)
			gid, _ = strconv.Atoi(u.Gid)
			return uid, gid
		}
	}
	t.Fatalf("there is no user of %v", names)
	return 0, 0
}
