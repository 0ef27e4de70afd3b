package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each story comes to its end, and no two lead in it. The lease is long, because tests that run
// meanwhile stall the replicas.
func testStories(t *testing.T, path string) {
	dir := t.TempDir()
	p := start(t, path, "-script", "all", "-lease", "3s", "-svg", filepath.Join(dir, "run.svg"))
	p.end(exitOK)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v (%v), want the picture alone", files, err)
	}
	picture, err := os.ReadFile(filepath.Join(dir, "run.svg"))
	if err != nil || !bytes.Contains(picture, []byte("two never led</text>")) {
		t.Errorf("the picture lacks the verdict (%v):\n%s", err, picture)
	}
	for _, name := range storyNames() {
		if name != allStories {
			p.await(`(`+name+` +.* (dies|stopped|cut off|away))`, 1)
		}
	}
	for _, line := range []string{`^a    \|`, `demo  wrote .*run\.svg$`, `verdict: \d+ terms; \d of 3 replicas led; longest gap .*; two never led$`} {
		p.await(`(?m)(`+line+`)`, 1)
	}
}

// A story that is interrupted has not shown what it should.
func testStoryInterrupted(t *testing.T, path string) {
	p := start(t, path, "-script", "pause")
	p.await(`demo  (pauses \w)`, 1)
	p.signal(os.Interrupt)
	p.end(exitFailed)
	if !strings.Contains(p.output(), "story pause: ") {
		t.Error("the output does not say that the story was interrupted")
	}
}
