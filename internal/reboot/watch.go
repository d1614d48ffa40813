package reboot

import (
	"context"
	"errors"
	"time"

	"godwit/internal/crash"
	"godwit/internal/host"
)

// ErrRebooted is why a context of Watch ended.
var ErrRebooted = errors.New("the host rebooted")

// watchPause is the pause between two looks of Watch.
const watchPause = 3 * time.Second

// Watch gives a context that ends, with ErrRebooted as its cause, when the host
// runs another boot than boot. What waits for something on the host should not
// wait for it on another boot, with another system. stop ends the watching and
// tells whether the host has rebooted.
func Watch(ctx context.Context, r host.Conn, boot string) (watched context.Context, stop func() bool) {
	return watch(ctx, r, boot, watchPause)
}

func watch(ctx context.Context, r host.Conn, boot string, wait time.Duration) (watched context.Context, stop func() bool) {
	watched, end := context.WithCancelCause(ctx)
	done := make(chan struct{})
	rebooted := false
	go func() {
		defer crash.Catch()
		defer close(done)
		fresh := false // what was connected may hang until ssh notices
		for boot != "" && pause(watched, wait) == nil {
			try, cancel := context.WithTimeout(watched, 10*time.Second)
			now, err := bootID(try, r, fresh)
			cancel()
			if fresh = err != nil; !fresh && now != boot {
				r.Disconnect() // what it had belongs to the old boot
				rebooted = true
				end(ErrRebooted)
				return
			}
		}
	}()
	return watched, func() bool {
		end(context.Canceled)
		<-done
		return rebooted
	}
}
