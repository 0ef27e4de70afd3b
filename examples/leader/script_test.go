package main

import (
	"os"
	"strings"
	"testing"
)

// Each story comes to its end, and no two lead in it. .ci/run tells all of them with the default lease.
func testStories(t *testing.T, path string) {
	p := start(t, path, "-script", "all", "-lease", "1s")
	p.end(exitOK)
	for _, name := range storyNames() {
		if name != allStories {
			p.await(`(`+name+` +.* (dies|stopped|cut off|away))`, 1)
		}
	}
	for _, line := range []string{`^a    \|`, `verdict: \d+ terms of 3 replicas; longest gap .*; two never led$`} {
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
