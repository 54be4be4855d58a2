package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/httpapi"
)

func TestProblemsAreWrittenAsProblemJSON(t *testing.T) {
	tests := []struct {
		name       string
		err        error
		status     int
		body       string
		retryAfter string
	}{
		{
			"a refusal", &httpapi.Problem{Status: 422, Code: "amount-not-positive", Field: "amount", Detail: "amount is -1"}, 422,
			`{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"amount is -1","code":"amount-not-positive","field":"amount","retryable":false,"mayHaveRun":false}`, "",
		},
		{
			"unavailable", fmt.Errorf("asking: %w", &httpapi.Problem{Status: 503, Code: "timeout", Retryable: true, MayHaveRun: true}), 503,
			`{"type":"about:blank","title":"Service Unavailable","status":503,"code":"timeout","retryable":true,"mayHaveRun":true}`, "1",
		},
		{
			"a pause is rounded up", &httpapi.Problem{Type: "https://example.org/busy", Title: "Busy", Status: 429, RetryAfter: 1001 * time.Millisecond}, 429,
			`{"type":"https://example.org/busy","title":"Busy","status":429,"retryable":false,"mayHaveRun":false}`, "2",
		},
		{
			"any other error keeps its text", errors.New("password is hunter2"), 500,
			`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"the request failed; the logs of the node say why","code":"internal","retryable":false,"mayHaveRun":true}`, "",
		},
		{"a status that is none", &httpapi.Problem{Status: 200}, 500, `{"type":"about:blank","title":"Internal Server Error","status":500,"retryable":false,"mayHaveRun":false}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			httpapi.WriteError(rec, tt.err)
			if rec.Code != tt.status || rec.Header().Get("Content-Type") != "application/problem+json" || rec.Header().Get("Retry-After") != tt.retryAfter {
				t.Errorf("got %d with %v, want %d, problem+json and Retry-After %q", rec.Code, rec.Header(), tt.status, tt.retryAfter)
			}
			var got, want any
			if err := errors.Join(json.Unmarshal(rec.Body.Bytes(), &got), json.Unmarshal([]byte(tt.body), &want)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %s, want %s", rec.Body, tt.body)
			}
		})
	}
}

func TestProblemsReadAsErrors(t *testing.T) {
	for want, p := range map[string]*httpapi.Problem{
		"key-reused: another amount": {Code: "key-reused", Detail: "another amount"},
		"Conflict":                   {Status: 409},
	} {
		if got := p.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestValuesThatAreNoJSONBecomeA500(t *testing.T) {
	rec := httptest.NewRecorder()
	httpapi.WriteJSON(rec, 200, make(chan int))
	if rec.Code != 500 || !strings.Contains(rec.Body.String(), `"internal"`) {
		t.Errorf("got %d %s, want a 500 problem", rec.Code, rec.Body)
	}
}
