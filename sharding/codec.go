package sharding

import "github.com/holdfast-go/holdfast/internal/wire"

// Codec translates requests and replies to bytes and back. It must be safe for
// concurrent use, and every node must use the same one for a type.
type Codec interface {
	Marshal(v any) ([]byte, error)
	// Unmarshal fills what into points to. It must not keep b.
	Unmarshal(b []byte, into any) error
}

// DefaultCodec carries values that are a proto.Message as protobuf and all
// others as JSON.
type DefaultCodec struct{}

// Marshal implements Codec.
func (DefaultCodec) Marshal(v any) ([]byte, error) { return wire.MarshalValue(v) }

// Unmarshal implements Codec.
func (DefaultCodec) Unmarshal(b []byte, into any) error { return wire.UnmarshalValue(b, into) }
