package builder

import "context"

type Engines struct{}

func (e *Engines) Facts(ctx context.Context, want string) EngineFacts {
	return EngineFacts{Name: "Docker", Lines: [][2]string{{"Docker", "not there yet"}}}
}
