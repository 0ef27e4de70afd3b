package timeline_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"example.com/setlock/examples/leader/internal/timeline"
)

// The picture is XML, whatever the names are, and shows terms, gaps, overlaps and what was done.
func TestSVG(t *testing.T) {
	const name = `<script>"&'`
	l := record(t, "0 "+name+" starts; 0 "+name+" elected; 5000 "+name+" dead; 7500 b elected; 8000 redis stopped; 8500 c elected; 9000 b told", false)
	for _, picture := range []string{string(l.SVG(at(10_000))), string(new(timeline.Timeline).SVG(at(0)))} {
		for d := xml.NewDecoder(strings.NewReader(picture)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, picture)
			}
		}
		if strings.Contains(picture, "<script") {
			t.Error("a name is part of the markup")
		}
	}
	picture := string(l.SVG(at(10_000)))
	for _, want := range []string{">2.50s</text>", "nobody led for 2.50s", "b led for 1.50s", "b and c led, for 500ms", "Redis was stopped for 2.00s", "TWO LED"} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture lacks %q:\n%s", want, picture)
		}
	}
}
