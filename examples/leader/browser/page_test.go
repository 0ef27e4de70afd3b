package browser_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// button returns the selector of a button of a replica.
func button(id, verb string) string {
	return fmt.Sprintf(`[data-lane=%q] button[data-verb=%q]`, id, verb)
}

// A leader is killed by the button, and the lane of another lights up.
func TestPage(t *testing.T) {
	ctx := newBrowser(t)
	url := startDemo(t)
	b := tab{t, ctx}
	b.run("open the page", chromedp.Navigate(url))

	first := b.leader("")
	b.run("kill", chromedp.Click(button(first, "kill")))
	second := b.leader(first)
	b.await(fmt.Sprintf(`document.getElementById("headline").textContent.match(/^%s leads. Nobody led for .*, because %s was killed.$/) !== null`, second, first))
	b.await(`document.querySelector("#nobody .gap") !== null`)
	b.await(fmt.Sprintf(`document.querySelector('[data-lane=%q] .chip').textContent === "follows"`, first))

	// Keyboard alone: the button is reached by Tab, keeps the focus, and changes what it does.
	b.run("focus the lane before", chromedp.Focus(button(second, "kill")))
	b.run("tab", chromedp.KeyEvent(kb.Tab))
	if got, want := eval[string](b, `document.activeElement.getAttribute("aria-label")`), "pause "+second; got != want {
		t.Fatalf("Tab reaches %q, want %q", got, want)
	}
	b.run("press", chromedp.KeyEvent(" "))
	b.await(fmt.Sprintf(`document.querySelector('[data-lane=%q] .chip').textContent === "paused"`, second))
	if got, want := eval[string](b, `document.activeElement.getAttribute("aria-label")`), "continue "+second; got != want {
		t.Errorf("the focus is on %q, want %q", got, want)
	}
	if outline := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); outline == "none" {
		t.Error("the focus cannot be seen")
	}
	third := b.leader(second)
	b.shoot("paused")
	b.run("press", chromedp.KeyEvent(kb.Enter))
	b.await(fmt.Sprintf(`document.querySelector('[data-lane=%q] .chip').textContent === "follows"`, second))

	// All other buttons.
	b.run("cut off", chromedp.Click(button(third, "cut")))
	fourth := b.leader(third)
	b.run("reconnect", chromedp.Click(button(third, "heal")))
	b.run("resign", chromedp.Click(button(fourth, "resign")))
	fifth := b.leader(fourth)
	b.run("stop Redis", chromedp.Click(`#redis button[data-verb=stop]`))
	b.await(`document.querySelector("#redis .chip").textContent === "stopped"`)
	b.await(`document.querySelector("#lanes .leads") === null`)
	b.run("start Redis", chromedp.Click(`#redis button[data-verb=start]`))
	b.leader("")
	b.run("restart Redis", chromedp.Click(`#redis button[data-verb=restart]`))
	b.run("add a replica", chromedp.Click(`button[data-verb=add]`))
	b.await(`document.querySelector("[data-lane=d] .chip")?.textContent === "follows"`)
	b.await(`document.getElementById("verdict").textContent.endsWith("two never led")`)
	if problem := eval[string](b, `document.getElementById("problem").textContent`); problem != "" {
		t.Errorf("a button has a problem: %s", problem)
	}
	_ = fifth
	time.Sleep(time.Second / 2) // for a nicer picture
	looks(b)
}

// looks checks the page in the dark, in the light, and on a phone.
func looks(b tab) {
	b.t.Helper()
	backs := make(map[string]string)
	for _, scheme := range []string{"light", "dark"} {
		for name, width := range map[string]int64{"desktop": 1200, "phone": 360, "tablet": 860} {
			b.look(scheme, width, 800, name == "phone")
			b.await(fmt.Sprintf("innerWidth === %d", width))
			if over := eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
				b.t.Errorf("%s %s: the page is %d pixels too wide", scheme, name, over)
			}
			if small := eval[int](b, `[...document.querySelectorAll("button")].filter(b => b.getBoundingClientRect().height < 36).length`); small > 0 {
				b.t.Errorf("%s %s: %d buttons are too small", scheme, name, small)
			}
			b.shoot(scheme + "-" + name)
		}
		backs[scheme] = eval[string](b, `getComputedStyle(document.body).backgroundColor`)
	}
	if backs["light"] == backs["dark"] {
		b.t.Errorf("dark and light are both %s", backs["light"])
	}
	// Every button has a name, and nothing came from elsewhere.
	if nameless := eval[int](b, `[...document.querySelectorAll("button")].filter(b => !(b.textContent.trim() || b.getAttribute("aria-label"))).length`); nameless > 0 {
		b.t.Errorf("%d buttons have no name", nameless)
	}
	if foreign := eval[int](b, `performance.getEntriesByType("resource").filter(r => !r.name.startsWith(location.origin)).length`); foreign > 0 {
		b.t.Errorf("%d things were loaded from elsewhere", foreign)
	}
}

// Another site that the browser shows can press no button.
func TestOtherSite(t *testing.T) {
	ctx := newBrowser(t)
	victim, other := startDemo(t), startDemo(t) // another port is another origin
	b := tab{t, ctx}
	b.run("open the other page", chromedp.Navigate(other))
	b.leader("")
	status := fmt.Sprintf(`fetch(%q, {method: "POST", mode: "no-cors", headers: {}}).then(() => "sent", () => "refused")`, victim+"/do/add")
	got := eval[string](b, status)
	b.run("open the page", chromedp.Navigate(victim))
	b.leader("")
	if lanes := eval[int](b, `document.querySelectorAll("#lanes .lane").length`); lanes != 3 {
		t.Errorf("%d replicas, want 3: another site has added one (%s)", lanes, got)
	}
}
