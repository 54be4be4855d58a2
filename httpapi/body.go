package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"unicode"
)

// DefaultMaxBody bounds a request body unless the caller says otherwise.
const DefaultMaxBody = 64 << 10

// ReadBody reads a request body of at most limit bytes, DefaultMaxBody when limit
// is 0. An error is a [*Problem]: 413 when the body is longer, in which case the
// connection is closed after the answer, and 400 when it cannot be read.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if limit <= 0 {
		limit = DefaultMaxBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &Problem{Status: http.StatusRequestEntityTooLarge, Code: "body-too-large", Detail: fmt.Sprintf("the body is longer than %d bytes", limit)}
	case err != nil:
		return nil, &Problem{Status: http.StatusBadRequest, Code: "body-unreadable", Detail: "the body ended early", Retryable: true}
	}
	return body, nil
}

// DecodeJSON reads a request body as one JSON value into T, strictly: fields
// that T does not have, fields given twice (in any case of letters), null for the
// whole, and anything after the value are refused. A field that is null counts as
// one that is not given. An error is a [*Problem]: 413
// or 400 as in ReadBody, 415 for another content type, 400 for what is not JSON,
// 422 naming the field otherwise.
func DecodeJSON[T any](w http.ResponseWriter, r *http.Request, limit int64) (T, error) {
	var v, zero T
	body, err := ReadBody(w, r, limit)
	if err != nil {
		return zero, err
	}
	if err := checkContentType(r.Header.Get("Content-Type"), body); err != nil {
		return zero, err
	}
	if err := checkJSON(body); err != nil {
		return zero, err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return zero, decodeProblem(err)
	}
	return v, nil
}

// checkContentType allows JSON, clients that do not say, and JSON under the
// name that curl -d gives to everything.
func checkContentType(header string, body []byte) error {
	if header == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(header)
	if err == nil && kind == "application/x-www-form-urlencoded" && bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return nil
	}
	charset := strings.ToLower(params["charset"])
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") || charset != "" && charset != "utf-8" {
		return &Problem{Status: http.StatusUnsupportedMediaType, Code: "content-type", Field: "Content-Type", Detail: fmt.Sprintf("content type %.100q is not supported: send application/json in UTF-8", header)}
	}
	return nil
}

// checkJSON refuses what the decoder would let pass: an empty body, null, more
// than one value, and a field given twice.
func checkJSON(body []byte) error {
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		return &Problem{Status: http.StatusBadRequest, Code: "body-empty", Detail: "the body is empty: send a JSON value"}
	case string(trimmed) == "null":
		return unprocessable("body-null", "", "the body is null: send a JSON value")
	case !json.Valid(body):
		if err := json.NewDecoder(bytes.NewReader(body)).Decode(new(json.RawMessage)); err == nil {
			return unprocessable("body-trailing", "", "the body has more after the JSON value: send one value")
		}
		return notJSON(json.Unmarshal(body, new(any)))
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return checkNames(dec)
}

// level is an object or a list that the walk over a document is in.
type level struct {
	object bool
	seen   map[string]bool
	name   string // of the field whose value comes next, "" when a name does
}

// checkNames walks over a document that is valid JSON and refuses an object that
// has a name twice. encoding/json would take the last one, and another reader
// perhaps the first.
func checkNames(dec *json.Decoder) error {
	var stack []*level
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return notJSON(err)
		}
		var top *level
		if len(stack) > 0 {
			top = stack[len(stack)-1]
		}
		if name, ok := token.(string); ok && top != nil && top.object && top.name == "" {
			folded := fold(name)
			if top.seen[folded] {
				field := fieldPath(stack[:len(stack)-1], name)
				return unprocessable("field-twice", field, fmt.Sprintf("field %.200q is given twice", field))
			}
			top.seen[folded] = true
			top.name = name + "."
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, &level{object: true, seen: map[string]bool{}})
			continue
		case json.Delim('['):
			stack = append(stack, &level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > 0 { // a value has ended
			stack[len(stack)-1].name = ""
		}
	}
}

// fold maps names that encoding/json takes for the same to one.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		for { // to the smallest rune of those that differ only in case
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, name)
}

func fieldPath(stack []*level, name string) string {
	var path strings.Builder
	for _, l := range stack {
		path.WriteString(l.name)
	}
	return path.String() + name
}

// decodeProblem translates an error of encoding/json.
func decodeProblem(err error) error {
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrongType.Field == "" {
			return unprocessable("field-type", "", fmt.Sprintf("the body is %s, want %s", given(wrongType.Value), kindOf(wrongType.Type)))
		}
		return unprocessable("field-type", wrongType.Field, fmt.Sprintf("field %.200q is %s, want %s", wrongType.Field, given(wrongType.Value), kindOf(wrongType.Type)))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		return unprocessable("field-unknown", name, fmt.Sprintf("field %.200q is not known here", name))
	}
	// a field's own UnmarshalJSON or UnmarshalText refused it
	return unprocessable("field-value", "", strings.TrimPrefix(err.Error(), "json: "))
}

// given shows a value such as "number 1.5" as encoding/json describes it.
func given(value string) string { return fmt.Sprintf("a JSON %.100s", value) }

// kindOf names a Go type as clients know it.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number of %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number, not negative, of %d bits", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "another type"
	}
}

func notJSON(err error) error {
	return &Problem{Status: http.StatusBadRequest, Code: "body-not-json", Detail: fmt.Sprintf("the body is not JSON: %v", err)}
}

func unprocessable(code, field, detail string) error {
	return &Problem{Status: http.StatusUnprocessableEntity, Code: code, Field: field, Detail: detail}
}
