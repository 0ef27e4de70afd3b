package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"example.com/setlock/examples/leader/internal/timeline"
)

// -help describes all events and fields that -json can print, and no others.
func TestHelpListsEvents(t *testing.T) {
	source, err := os.ReadFile("internal/timeline/event.go")
	if err != nil {
		t.Fatal(err)
	}
	var printed []string
	for _, kind := range regexp.MustCompile(`\bKind += "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		printed = append(printed, kind[1])
	}
	for _, object := range []any{timeline.Event{}, timeline.Verdict{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(object)) {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
				printed = append(printed, name)
			}
		}
	}
	_, help, _ := execute(t, "-help")
	_, help, found := strings.Cut(help, "With -json, each line")
	if !found {
		t.Fatal("-help does not describe -json")
	}
	var described []string
	for _, m := range regexp.MustCompile(`(?m)^  (\w+)  `).FindAllStringSubmatch(help, -1) {
		described = append(described, m[1])
	}
	count := func(words []string) map[string]int {
		n := make(map[string]int)
		for _, word := range words {
			n[word]++
		}
		return n
	}
	if got, want := count(described), count(printed); !reflect.DeepEqual(got, want) {
		t.Errorf("-help describes\n%v, want\n%v", got, want)
	}
}
