package sharding

import (
	"context"
	"fmt"
	"unicode/utf8"
)

// Bounds of what travels.
const (
	// MaxEntityID is the longest entity id in bytes.
	MaxEntityID = 512
	// MaxCommandID is the longest command id in bytes.
	MaxCommandID = 256
	// MaxPayload is the largest encoded request or reply in bytes.
	MaxPayload = 1 << 20
)

type commandKey struct{}

// CommandID makes the calls with this ctx idempotent under key, which is 1 to
// 256 bytes of valid UTF-8 and unique per command and entity: a client's
// idempotency key or a fresh random id. Repeats get the recorded reply; another
// payload under the same key is refused with CommandReused; Ask retries by
// itself, also after failures that may have run, until ctx ends. How long ids
// are remembered is a matter of the entity type. A key out of bounds makes the
// calls fail with Malformed.
//
// Handlers do not inherit the id in their ctx.
func CommandID(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, commandKey{}, key)
}

// CommandIDFrom returns the command id that ctx carries.
func CommandIDFrom(ctx context.Context) (key string, ok bool) {
	key, ok = ctx.Value(commandKey{}).(string)
	return key, ok
}

func checkID(id string) error {
	if n := len(id); n < 1 || n > MaxEntityID {
		return fmt.Errorf("entity id has %d bytes: it must have 1 to %d", n, MaxEntityID)
	}
	if !utf8.ValidString(id) {
		return fmt.Errorf("entity id %q is not valid UTF-8", id)
	}
	return nil
}

func checkCommandID(key string) error {
	if n := len(key); n < 1 || n > MaxCommandID {
		return fmt.Errorf("command id has %d bytes: it must have 1 to %d", n, MaxCommandID)
	}
	if !utf8.ValidString(key) {
		return fmt.Errorf("command id %q is not valid UTF-8", key)
	}
	return nil
}
