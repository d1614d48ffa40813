package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLostPages: each command of godwit's on the pages about lost keys is one that the script
// of these pages runs, with the same words and flags. NAME, MACHINE and paths of this
// machine stand for anything. What needs a host is tried on hosts (test/e2e).
func TestLostPages(t *testing.T) {
	text, err := os.ReadFile("testdata/script/secrets-lost.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var ran [][]string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "exits" && (f[1] == "0" || f[1] == "1") {
			ran = append(ran, f[2:])
		}
	}
	onHosts := []string{"keys install", "keys adopt"}
	command := regexp.MustCompile("(?m)(?:^    |`)godwit ([^`\n#]+)")
	for _, page := range []string{"secrets-lost-operator.md", "secrets-lost-machine.md"} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		found := command.FindAllStringSubmatch(string(text), -1)
		if len(found) < 4 {
			t.Errorf("%s has %d commands", page, len(found))
		}
		for _, m := range found {
			words := strings.Fields(m[1])
			if len(words) > 1 && slices.Contains(onHosts, strings.Join(words[:2], " ")) {
				continue
			}
			if !slices.ContainsFunc(ran, func(line []string) bool { return within(words, line) }) {
				t.Errorf("%s: nothing tries 'godwit %s'", page, m[1])
			}
		}
	}
}

// within tells whether the words stand in a line, in their order.
func within(words, line []string) bool {
	anything := regexp.MustCompile(`^([A-Z]+…?|~?/.*|web1|db-password)$`)
	for _, w := range words {
		i := slices.Index(line, w)
		if i < 0 && anything.MatchString(w) && len(line) > 0 {
			i = 0
		}
		if i < 0 {
			return false
		}
		line = line[i+1:]
	}
	return true
}
