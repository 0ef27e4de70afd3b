//go:build unix

package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A picture replaces the file to which a link leads, and not the link. It is written into a pipe, and
// does not replace the pipe. No other file is left.
func TestWriteFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("file"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(in("pipe"), 0o600); err != nil {
		t.Skip(err)
	}
	for _, target := range []string{"file", "pipe"} {
		if err := os.Symlink(target, in("to-"+target)); err != nil {
			t.Fatal(err)
		}
	}
	pipe, err := os.OpenFile(in("pipe"), os.O_RDWR, 0) // does not wait for a writer
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := pipe.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "to-file", "pipe", "to-pipe"} {
		if err := tryWrite(in(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := write(in(name), []byte(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{"new": "new", "file": "to-file"} {
		if got, err := os.ReadFile(in(name)); err != nil || string(got) != want {
			t.Errorf("%s has %q (%v), want %q", name, got, err, want)
		}
	}
	const want = "pipeto-pipe"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(pipe, got); err != nil || string(got) != want {
		t.Errorf("the pipe has %q (%v), want %q", got, err, want)
	}
	for name, want := range map[string]os.FileMode{"to-file": os.ModeSymlink, "to-pipe": os.ModeSymlink, "pipe": os.ModeNamedPipe} {
		if info, err := os.Lstat(in(name)); err != nil || info.Mode().Type() != want {
			t.Errorf("%s is %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 5 {
		t.Errorf("files %v (%v), want five", all, err)
	}
}

// A directory in which nothing can be created is an error before the demo starts.
func TestPictureThatCannotBeWritten(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a directory in which even root cannot create a file")
	}
	code, stdout, got := execute(t, "-for", "1ms", "-svg", "/proc/leader.svg")
	if want := "leader: -svg: cannot create a file in /proc: "; code != exitFailed || stdout != "" || !strings.HasPrefix(got, want) {
		t.Errorf("exit code %d, %q, %q, want %d and only %q", code, stdout, got, exitFailed, want)
	}
}
