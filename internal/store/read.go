package store

import (
	"context"
	"io"

	"godwit/internal/fault"
)

// maxRead bounds what Read takes into memory.
const maxRead = 16 << 20

// Read gives the NARs of small paths, one connection for all of them. The infos
// say how long they are (Closure, PathInfos).
func Read(ctx context.Context, src Endpoint, infos []*Info) ([][]byte, error) {
	c, err := dial(ctx, src, false, DefaultIdle)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out [][]byte
	for _, i := range infos {
		if i.NarSize > maxRead {
			return nil, fault.New("%s: %s is too large to be read", src.Name, i.Path)
		}
		b := make([]byte, i.NarSize)
		request := putString(putUint(nil, opDumpStorePath), i.Path)
		err := c.request(request, nil, "while reading "+i.Path, func() error {
			_, err := io.ReadFull(c.r.r, b)
			return err
		})
		if err != nil {
			return nil, err
		}
		check := NewNARChecker()
		if _, err := check.Write(b); err != nil {
			return nil, fault.New("%s: %s: %w", src.Name, i.Path, err)
		}
		if err := check.Finish(i.NarSize, i.NarHash); err != nil {
			return nil, fault.New("%s: %s: %w", src.Name, i.Path, err)
		}
		out = append(out, b)
	}
	return out, nil
}
