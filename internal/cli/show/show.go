// Package show is how reports look: values in, text or the values of JSON out. Nothing
// here prints.
package show

// dash stands for what is not known.
func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
