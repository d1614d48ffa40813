package gc

import (
	"fmt"
	"strconv"
	"strings"

	"godwit/internal/hoststate"
)

// Numbers names generations in words.
func Numbers(list []hoststate.Generation) string {
	if len(list) == 0 {
		return "no generation"
	}
	const most = 12
	var n []string
	for i, g := range list {
		if i == most {
			n = append(n, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		n = append(n, strconv.Itoa(g.Number))
	}
	word := "generation "
	if len(list) > 1 {
		word = "generations "
	}
	return word + strings.Join(n, ", ")
}
