package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/setlock/internal/compare/report"
)

// An element of the picture, with the text directly in it.
type element struct {
	name string
	attr map[string]string
	text string
}

// parse returns the elements of a document, which must be well-formed.
func parse(t *testing.T, data []byte) []*element {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(data))
	var all, open []*element
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attr: make(map[string]string)}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(token)
			}
		}
	}
}

// named returns the elements with a name.
func named(all []*element, name string) []*element {
	return slices.DeleteFunc(slices.Clone(all), func(e *element) bool { return e.name != name })
}

func TestSVG(t *testing.T) {
	r := sample()
	data := r.SVG()
	if !bytes.Equal(data, r.SVG()) {
		t.Error("the same results give two pictures")
	}
	all := parse(t, data)
	svg := all[0]
	if svg.name != "svg" || svg.attr["role"] != "img" || svg.attr["aria-labelledby"] != "title desc" {
		t.Errorf("the first element is %+v", svg)
	}
	title, desc := named(all, "title")[0], named(all, "desc")[0]
	if title.attr["id"] != "title" || title.text == "" || desc.attr["id"] != "desc" {
		t.Errorf("title %+v, description %+v", title, desc)
	}
	for _, want := range []string{"peer<1> 3 ms", "ours/election 100 ms", "peer<1> -50 ms", "floor 15 %"} {
		if !strings.Contains(desc.text, want) {
			t.Errorf("the description has no %q: %s", want, desc.text)
		}
	}
	if style := named(all, "style")[0].text; !strings.Contains(style, "prefers-color-scheme: dark") {
		t.Errorf("no colours for dark pages: %s", style)
	}
	classes := make(map[string]int)
	width, height := number(t, svg, "width"), number(t, svg, "height")
	for _, e := range named(all, "rect") {
		classes[e.attr["class"]]++
		x, y, w, h := number(t, e, "x"), number(t, e, "y"), number(t, e, "width"), number(t, e, "height")
		if w < 0 || x < 0 || y < 0 || x+w > width || y+h > height {
			t.Errorf("a bar leaves the picture: %v", e.attr)
		}
	}
	// Hand-over and locks: four bars each. Margins: three, one of them too late.
	want := map[string]int{"page": 1, "floor": 2, "peer": 2, "ours": 6, "late": 1}
	for class, n := range want {
		if classes[class] != n {
			t.Errorf("%d bars are %s, want %d", classes[class], class, n)
		}
	}
	for _, e := range named(all, "text") {
		if number(t, e, "x") > width || number(t, e, "y") > height {
			t.Errorf("a text leaves the picture: %+v", e)
		}
	}
}

// TestSVGNever proves that a holder that was never told is drawn as such.
func TestSVGNever(t *testing.T) {
	r := sample()
	r.AddNever(report.ID{Scenario: "loss", Case: report.ServerStopped, Metric: report.Margin, Peer: "peer<1>"}, false)
	if desc := named(parse(t, r.SVG()), "desc")[0].text; !strings.Contains(desc, "peer<1> never told") {
		t.Error(desc)
	}
}

// TestSVGOfNothing proves that results without measures give a picture, too.
func TestSVGOfNothing(t *testing.T) { parse(t, new(report.Results).SVG()) }

func number(t *testing.T, e *element, attr string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(e.attr[attr], 64)
	if err != nil {
		t.Errorf("%s of %s: %v", attr, e.name, err)
	}
	return x
}
