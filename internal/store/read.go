package store

import (
	"context"
	"fmt"
	"io"

	"godwit/internal/fault"
	"godwit/internal/nar"
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
		check := nar.NewChecker()
		if _, err := check.Write(b); err != nil {
			return nil, fault.New("%s: %s: %w", src.Name, i.Path, err)
		}
		if err := finishNAR(check, i.NarSize, i.NarHash); err != nil {
			return nil, fault.New("%s: %s: %w", src.Name, i.Path, err)
		}
		out = append(out, b)
	}
	return out, nil
}

// finishNAR tells whether what passed c is the whole of what the path info promised.
func finishNAR(c *nar.Checker, size int64, sum Hash) error {
	if err := c.Finish(size); err != nil {
		return err
	}
	if got := Hash(c.Sum()); got != sum {
		return fmt.Errorf("NAR has the hash %s instead of %s", got, sum)
	}
	return nil
}
