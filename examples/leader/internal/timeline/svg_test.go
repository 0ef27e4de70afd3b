package timeline_test

import (
	"encoding/xml"
	"errors"
	"image"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

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

// The picture tells what killed a process, what the colour of a gap means, and how long the lease is.
func TestSVGLegend(t *testing.T) {
	l := &timeline.Timeline{Lease: 2 * time.Second}
	l.Add(timeline.Event{Time: at(0), Who: "a", Kind: timeline.Elected})
	l.Add(timeline.Event{Time: at(1000), Who: "a", Kind: timeline.Dead, Killed: true})
	l.Add(timeline.Event{Time: at(4000), Who: "b", Kind: timeline.Elected})
	l.Add(timeline.Event{Time: at(9000), Who: "b", Kind: timeline.Dead})
	picture := string(l.SVG(at(10_000)))
	for _, want := range []string{">killed</text>", ">ended</text>", ">nobody leads</text>", ">the lease, 2s: "} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture lacks %q:\n%s", want, picture)
		}
	}
	l.Lease = 0
	if strings.Contains(string(l.SVG(at(10_000))), "the lease") {
		t.Error("the picture shows a lease that is not known")
	}
}

// Short gaps can be seen and have their lengths, and no two words overlap.
func TestSVGLabels(t *testing.T) {
	l := record(t, "0 a starts; 0 b starts; 0 a elected; 5000 a told; 5260 b elected; 5300 b told; 5301 a elected; 5400 a told; 5401 b elected;"+
		"6000 redis stopped; 6010 redis flushed; 6020 redis restored; 6030 redis stopped; 7500 redis flushed; 20000 redis stopped; 20001 redis flushed", false)
	picture := string(l.SVG(at(20_010)))
	gaps := regexp.MustCompile(`<rect class="gap" x="[^"]+" y="\d+" width="([^"]+)"`).FindAllStringSubmatch(picture, -1)[1:] // without the legend
	if len(gaps) != 3 {
		t.Fatalf("%d gaps, want 3:\n%s", len(gaps), picture)
	}
	for _, gap := range gaps {
		if width, err := strconv.ParseFloat(gap[1], 64); err != nil || width < 4 {
			t.Errorf("a gap is %s wide (%v), want 4 at least", gap[1], err)
		}
	}
	var spots []image.Rectangle
	words := regexp.MustCompile(`<text (?:class="gaptext"|font-size="11") text-anchor="(\w+)" x="([^"]+)" y="(\d+)">([^<]+)<`).FindAllStringSubmatch(picture, -1)
	if len(words) != 3+6 {
		t.Errorf("%d words, want the lengths of 3 gaps and 6 marks of redis:\n%s", len(words), picture)
	}
	for _, word := range words {
		x, _ := strconv.ParseFloat(word[2], 64)
		y, _ := strconv.Atoi(word[3])
		width := 6 * len(word[4])
		left := map[string]int{"start": int(x), "middle": int(x) - width/2, "end": int(x) - width}[word[1]]
		spot := image.Rect(left, y-9, left+width, y)
		if !spot.In(image.Rect(0, 0, 1000, 1000)) {
			t.Errorf("%q is at %v, outside of the picture", word[4], spot)
		}
		for i, other := range spots {
			if spot.Overlaps(other) {
				t.Errorf("%q at %v overlaps %q at %v", word[4], spot, words[i][4], other)
			}
		}
		spots = append(spots, spot)
	}
}
