package convert

import (
	"errors"
	"io/fs"
	"os"

	"godwit/internal/fault"
	"godwit/internal/source"
)

// WriteNew writes a file that is not there yet.
func WriteNew(path, content string) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fault.New("'%s' is there already", source.Here(path)).Hint("-o DIR writes into another directory, --dry-run shows the files")
	}
	if err == nil {
		_, err = w.WriteString(content)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return fault.New("cannot write '%s': %w", source.Here(path), fault.Reason(err)).Because(err)
	}
	return nil
}
