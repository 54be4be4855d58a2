package wire

import (
	"encoding/json"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
)

// MarshalValue encodes a proto.Message as protobuf and any other value as JSON.
func MarshalValue(v any) ([]byte, error) {
	if m, ok := v.(proto.Message); ok {
		// Deterministic, because the bytes are hashed to tell a repeated command
		// from another one under the same id.
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("encode %T as protobuf: %w", v, err)
		}
		return b, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T as json: %w", v, err)
	}
	return b, nil
}

// UnmarshalValue fills what into points to from bytes made by MarshalValue.
// A pointer to a nil message pointer is filled with a new message.
func UnmarshalValue(b []byte, into any) error {
	if m, ok := into.(proto.Message); ok {
		return unmarshalProto(b, m)
	}
	if p := reflect.ValueOf(into); p.Kind() == reflect.Pointer && !p.IsNil() && p.Elem().Kind() == reflect.Pointer {
		fresh := reflect.New(p.Elem().Type().Elem())
		if m, ok := reflect.TypeAssert[proto.Message](fresh); ok {
			if err := unmarshalProto(b, m); err != nil {
				return err
			}
			p.Elem().Set(fresh)
			return nil
		}
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decode %T from json: %w", into, err)
	}
	return nil
}

func unmarshalProto(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("decode %T from protobuf: %w", m, err)
	}
	return nil
}
