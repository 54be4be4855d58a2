package httpapi

import (
	"fmt"
	"net/http"
	"strings"
)

// Names under which a client may send its idempotency key.
const (
	IdempotencyHeader = "Idempotency-Key"
	IdempotencyQuery  = "transactionId"
)

// MaxIdempotencyKey bounds an idempotency key, in bytes.
const MaxIdempotencyKey = 256

// IdempotencyKey returns the key that makes a request safe to repeat, "" when
// the client sent none. It is taken from the header Idempotency-Key, with or
// without double quotes around it, or from the query parameter transactionId. An
// error is a [*Problem] with status 400: the key must be 1..256 printable ASCII
// characters without a space at either end, and when it is given more than once
// all must be the same.
func IdempotencyKey(r *http.Request) (string, error) {
	key, from := "", ""
	take := func(source, value string) error {
		if err := checkKey(source, value); err != nil {
			return err
		}
		if from != "" && value != key {
			return badKey(fmt.Sprintf("%s and %s give different keys: send one", from, source))
		}
		key, from = value, source
		return nil
	}
	for _, v := range r.Header.Values(IdempotencyHeader) {
		if n := len(v); n >= 2 && v[0] == '"' && v[n-1] == '"' { // a string as RFC 9651 writes it
			v = v[1 : n-1]
		}
		if err := take("header "+IdempotencyHeader, v); err != nil {
			return "", err
		}
	}
	for _, v := range r.URL.Query()[IdempotencyQuery] {
		if err := take("query parameter "+IdempotencyQuery, v); err != nil {
			return "", err
		}
	}
	return key, nil
}

func checkKey(source, value string) error {
	if value == "" || len(value) > MaxIdempotencyKey {
		return badKey(fmt.Sprintf("%s has %d bytes, want 1..%d", source, len(value), MaxIdempotencyKey))
	}
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) || strings.TrimSpace(value) != value {
		return badKey(source + " must be printable ASCII characters without a space at either end")
	}
	return nil
}

func badKey(detail string) error {
	return &Problem{Status: http.StatusBadRequest, Code: "idempotency-key", Field: IdempotencyHeader, Detail: detail}
}
