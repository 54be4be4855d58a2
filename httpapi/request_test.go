package httpapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/httpapi"
)

type transfer struct {
	To     string `json:"to"`
	Amount int64  `json:"amount"`
	Note   struct {
		Text string   `json:"text"`
		Tags []string `json:"tags"`
	} `json:"note"`
	Extra map[string]int `json:"extra"`
}

func request(t *testing.T, body, contentType string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestGoodBodiesAreDecoded(t *testing.T) {
	for _, contentType := range []string{"", "application/json", "application/json; charset=UTF-8", "application/merge-patch+json"} {
		got, err := httpapi.DecodeJSON[transfer](httptest.NewRecorder(), request(t, ` {"to":"b","amount":5,"note":{"text":"hi","tags":["a","a"]},"extra":{"":1,"x":1}} `, contentType), 0)
		if err != nil || got.To != "b" || got.Amount != 5 || got.Note.Text != "hi" || len(got.Note.Tags) != 2 || got.Extra[""] != 1 {
			t.Errorf("with content type %q got %+v, %v", contentType, got, err)
		}
	}
	if got, err := httpapi.DecodeJSON[[]transfer](httptest.NewRecorder(), request(t, `[{"to":"a"},{"to":"b"}]`, ""), 0); err != nil || len(got) != 2 {
		t.Errorf("a list got %v, %v, want two values: names repeat in different objects", got, err)
	}
}

func TestTheContentTypeOfCurlIsNoObstacle(t *testing.T) {
	got, err := httpapi.DecodeJSON[transfer](httptest.NewRecorder(), request(t, ` {"to":"b"}`, "application/x-www-form-urlencoded"), 0)
	if err != nil || got.To != "b" {
		t.Errorf("got %+v, %v, want the value", got, err)
	}
}

func TestBadBodiesAreRefused(t *testing.T) {
	tests := []struct {
		name, body, contentType string
		status                  int
		code, field, says       string
	}{
		{name: "empty", body: "", status: 400, code: "body-empty"},
		{name: "only space", body: " \n ", status: 400, code: "body-empty"},
		{name: "null", body: " null ", status: 422, code: "body-null"},
		{name: "not json", body: "to=b&amount=5", status: 400, code: "body-not-json"},
		{name: "cut off", body: `{"to":"b"`, status: 400, code: "body-not-json"},
		{name: "single quotes", body: `{'to':1}`, status: 400, code: "body-not-json"},
		{name: "trailing comma", body: `{"to":"b",}`, status: 400, code: "body-not-json"},
		{name: "form", body: "to=b", contentType: "application/x-www-form-urlencoded", status: 415, code: "content-type", field: "Content-Type"},
		{name: "another charset", body: "{}", contentType: "application/json; charset=utf-16", status: 415, code: "content-type", field: "Content-Type"},
		{name: "broken content type", body: "{}", contentType: "application/json; =", status: 415, code: "content-type", field: "Content-Type"},
		{name: "unknown field", body: `{"to":"b","sum":5}`, status: 422, code: "field-unknown", field: "sum"},
		{name: "unknown field within", body: `{"note":{"txt":"hi"}}`, status: 422, code: "field-unknown", field: "txt"},
		{name: "text for a number", body: `{"amount":"5"}`, status: 422, code: "field-type", field: "amount", says: "JSON string, want a whole number of 64 bits"},
		{name: "fraction for a whole number", body: `{"amount":1.5}`, status: 422, code: "field-type", field: "amount", says: "number 1.5"},
		{name: "number that is too large", body: `{"amount":9223372036854775808}`, status: 422, code: "field-type", field: "amount"},
		{name: "number that is far too long", body: `{"amount":1` + strings.Repeat("0", 5000) + `}`, status: 422, code: "field-type", field: "amount"},
		{name: "number for text", body: `{"to":5}`, status: 422, code: "field-type", field: "to", says: "want a string"},
		{name: "wrong type within", body: `{"note":{"tags":"x"}}`, status: 422, code: "field-type", field: "note.tags", says: "want a list"},
		{name: "list for the whole", body: `[]`, status: 422, code: "field-type", says: "the body is a JSON array, want an object"},
		{name: "a field twice", body: `{"amount":1,"amount":2}`, status: 422, code: "field-twice", field: "amount"},
		{name: "a field twice in another case", body: `{"amount":1,"Amount":2}`, status: 422, code: "field-twice", field: "Amount"},
		{name: "a field twice in letters that fold", body: `{"extra":{"k":1,"\u212a":2}}`, status: 422, code: "field-twice", field: "extra.K"},
		{name: "a field twice within", body: `{"note":{"tags":[{"a":1}],"text":"a","text":"b"}}`, status: 422, code: "field-twice", field: "note.text"},
		{name: "a field twice after an object", body: `{"note":{},"to":"a","note":{}}`, status: 422, code: "field-twice", field: "note"},
		{name: "two values", body: `{"to":"a"}{"to":"b"}`, status: 422, code: "body-trailing"},
		{name: "text after the value", body: `{"to":"a"} x`, status: 422, code: "body-trailing"},
		{name: "too long", body: `{"to":"` + strings.Repeat("a", 64<<10) + `"}`, status: 413, code: "body-too-large"},
		{name: "too deep", body: strings.Repeat("[", 20000) + strings.Repeat("]", 20000), status: 400, code: "body-not-json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			got, err := httpapi.DecodeJSON[transfer](rec, request(t, tt.body, tt.contentType), 0)
			var p *httpapi.Problem
			if !errors.As(err, &p) {
				t.Fatalf("got %+v, %v, want a problem", got, err)
			}
			if p.Status != tt.status || p.Code != tt.code || p.Field != tt.field || !strings.Contains(p.Detail, tt.says) || p.MayHaveRun {
				t.Errorf("got %+v, want %d %s of field %q saying %q", p, tt.status, tt.code, tt.field, tt.says)
			}
			if len(p.Detail) > 500 || p.Detail == "" {
				t.Errorf("detail got %d bytes, want 1..500", len(p.Detail))
			}
			if !reflect.DeepEqual(got, transfer{}) {
				t.Errorf("value got %+v, want none", got)
			}
		})
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
func (brokenBody) Close() error             { return nil }

func TestABodyThatEndsEarlyIsAProblem(t *testing.T) {
	r := request(t, "", "")
	r.Body = brokenBody{}
	_, err := httpapi.ReadBody(httptest.NewRecorder(), r, 10)
	var p *httpapi.Problem
	if !errors.As(err, &p) || p.Code != "body-unreadable" || p.Status != 400 {
		t.Errorf("got %v, want a 400 problem", err)
	}
}

func TestBodiesMayHaveExactlyTheLimit(t *testing.T) {
	for n, ok := range map[int]bool{9: true, 10: true, 11: false} {
		body, err := httpapi.ReadBody(httptest.NewRecorder(), request(t, strings.Repeat("x", n), ""), 10)
		if (err == nil) != ok || ok && len(body) != n {
			t.Errorf("%d bytes with a limit of 10 got %d bytes and %v", n, len(body), err)
		}
	}
}

// What decodes must be all that the client sent: encoding it again and decoding
// that gives the same value.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{`{"to":"a","amount":1}`, `{}`, `null`, `[]`, `{"note":{"tags":[]}}`, `{"extra":{"a":1}}`, `{"":1}`, `"`, `{"to":"\ud800"}`, `{"a":{"b":[{"c":1}]}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		v, err := httpapi.DecodeJSON[transfer](httptest.NewRecorder(), r, 0)
		if err != nil {
			var p *httpapi.Problem
			if !errors.As(err, &p) || p.Status < 400 || p.Status > 499 {
				t.Fatalf("body %q got %v, want a problem of the client", body, err)
			}
			return
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := httpapi.DecodeJSON[transfer](httptest.NewRecorder(), request(t, string(again), ""), 1<<20)
		if err != nil || !reflect.DeepEqual(back, v) {
			t.Fatalf("body %q decodes to %+v, and that to %+v, %v", body, v, back, err)
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	long := strings.Repeat("k", httpapi.MaxIdempotencyKey)
	tests := []struct {
		name   string
		header []string
		query  string
		want   string
		err    string
	}{
		{name: "none"},
		{name: "header", header: []string{"abc-1"}, want: "abc-1"},
		{name: "quoted header", header: []string{`"abc-1"`}, want: "abc-1"},
		{name: "query", query: "?transactionId=t%201", want: "t 1"},
		{name: "both the same", header: []string{"t1"}, query: "?transactionId=t1", want: "t1"},
		{name: "longest", header: []string{long}, want: long},
		{name: "both and different", header: []string{"t1"}, query: "?transactionId=t2", err: "different keys"},
		{name: "two headers", header: []string{"t1", "t2"}, err: "different keys"},
		{name: "two parameters", query: "?transactionId=a&transactionId=b", err: "different keys"},
		{name: "empty header", header: []string{""}, err: "0 bytes"},
		{name: "empty quotes", header: []string{`""`}, err: "0 bytes"},
		{name: "empty parameter", query: "?transactionId=", err: "0 bytes"},
		{name: "too long", header: []string{long + "k"}, err: "257 bytes"},
		{name: "control character", query: "?transactionId=a%00b", err: "printable"},
		{name: "line break", query: "?transactionId=a%0Ab", err: "printable"},
		{name: "not ascii", query: "?transactionId=%C3%A4", err: "printable"},
		{name: "not utf-8", query: "?transactionId=%FF", err: "printable"},
		{name: "space at the end", query: "?transactionId=a%20", err: "space"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x"+tt.query, nil)
			for _, h := range tt.header {
				r.Header.Add("Idempotency-Key", h)
			}
			got, err := httpapi.IdempotencyKey(r)
			var p *httpapi.Problem
			switch {
			case tt.err == "" && (err != nil || got != tt.want):
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			case tt.err != "" && (!errors.As(err, &p) || p.Status != 400 || !strings.Contains(p.Detail, tt.err) || got != ""):
				t.Errorf("got %q, %v, want a 400 problem with %q", got, err, tt.err)
			}
		})
	}
}
