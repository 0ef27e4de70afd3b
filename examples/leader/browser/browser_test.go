package browser_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

const (
	// requireBrowser is the environment variable that, when it is set, makes a missing Chromium a
	// failure instead of a reason to skip.
	requireBrowser = "SETLOCK_REQUIRE_BROWSER"
	// screenshots is the environment variable that names a directory for pictures of the page.
	screenshots = "SETLOCK_SCREENSHOTS"
	// patience is how long a step in the browser may take.
	patience = 30 * time.Second
)

// chromium returns the path of a Chromium. Without one, it skips t, or fails it where requireBrowser
// is set.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv(requireBrowser) != "" {
		t.Fatalf("%s is set, and there is no chromium on the PATH", requireBrowser)
	}
	t.Skip("there is no chromium on the PATH")
	return ""
}

// newBrowser returns a context that drives a browser until t ends.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1200, 900))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return ctx
}

// startDemo builds and starts the demo. It returns the address of its page. The demo ends with t, and
// the test fails if it does not end well.
func startDemo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leader.exe")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(path, "-lease", "3s") // the browser may stall the replicas
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	url, read := make(chan string, 1), make(chan struct{})
	go func() { // joined in the cleanup
		defer close(read)
		serves := regexp.MustCompile(`serves (http://\S+)`)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines = append(lines, s.Text())
			if m := serves.FindStringSubmatch(s.Text()); m != nil {
				url <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		if runtime.GOOS == "windows" {
			cmd.Process.Kill()
		} else {
			cmd.Process.Signal(os.Interrupt)
		}
		<-read
		err := cmd.Wait()
		verdict := lines[len(lines)-1]
		if runtime.GOOS != "windows" && (err != nil || !strings.HasSuffix(verdict, "two never led")) {
			t.Errorf("the demo ended with %v and %q", err, verdict)
		}
		if t.Failed() {
			t.Log(strings.Join(lines, "\n"))
		}
	})
	select {
	case u := <-url:
		return u
	case <-time.After(patience):
		t.Fatal("the demo serves no page")
		return ""
	}
}

// A tab is the page in a browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// run runs actions of a step.
func (b tab) run(step string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.shoot("failed")
		b.t.Fatalf("%s: %v", step, err)
	}
}

// eval returns the value of an expression in the page.
func eval[T any](b tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// await waits until an expression is true in the page.
func (b tab) await(expression string) {
	b.t.Helper()
	b.run("waiting for "+expression, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience)))
}

// leader waits for a leader that is not the given one, and returns it.
func (b tab) leader(not string) string {
	b.t.Helper()
	const leads = `document.querySelector("#lanes .leads")?.dataset.lane`
	b.await(fmt.Sprintf("(%s ?? %q) !== %q", leads, not, not))
	return eval[string](b, leads)
}

// look makes the page dark or light, and as wide as a desktop or a phone.
func (b tab) look(scheme string, width, height int64, mobile bool) {
	b.t.Helper()
	viewport := chromedp.EmulateViewport(width, height)
	if mobile {
		viewport = chromedp.EmulateViewport(width, height, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	b.run("look", viewport, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	}))
}

// shoot takes a picture, if a directory for pictures is set.
func (b tab) shoot(name string) {
	dir := os.Getenv(screenshots)
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("no picture %s: %v", name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		b.t.Error(err)
	}
}
