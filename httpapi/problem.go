package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Problem is an error as clients see it (RFC 9457). It is an error, so that
// helpers can return it; [WriteError] writes it.
type Problem struct { //nolint:errname // the name that RFC 9457 gives it
	// Type is a URI for the kind of problem. Defaults to "about:blank".
	Type string `json:"type"`
	// Title is the same for all problems of a kind. Defaults to the text of Status.
	Title string `json:"title"`
	// Status is the HTTP status. Defaults to 500.
	Status int `json:"status"`
	// Detail says what is wrong with this request and what to do.
	Detail string `json:"detail,omitempty"`
	// Code names the problem for programs, for example "amount-not-positive".
	Code string `json:"code,omitempty"`
	// Field of the request that is wrong.
	Field string `json:"field,omitempty"`
	// Retryable says whether the same request may succeed later.
	Retryable bool `json:"retryable"`
	// MayHaveRun says whether the request may have taken effect.
	MayHaveRun bool `json:"mayHaveRun"`
	// RetryAfter is sent as Retry-After, in whole seconds, rounded up. With status
	// 503 it defaults to 1 s; with others nothing is sent by default.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.withDefaults().Title
	}
	if p.Code != "" {
		text = p.Code + ": " + text
	}
	return text
}

func (p Problem) withDefaults() Problem {
	if p.Status < 400 || p.Status > 599 {
		p.Status = http.StatusInternalServerError
	}
	if p.Type == "" {
		p.Type = "about:blank"
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	if p.Status == http.StatusServiceUnavailable && p.RetryAfter <= 0 {
		p.RetryAfter = time.Second
	}
	return p
}

// WriteProblem answers a request with a problem.
func WriteProblem(w http.ResponseWriter, p Problem) {
	p = p.withDefaults()
	body, err := json.Marshal(p)
	if err != nil { // cannot happen with these types
		body = []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"retryable":false,"mayHaveRun":true}`)
		p.Status = http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("Content-Length")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((p.RetryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the client has gone when this fails
}

// WriteError answers a request with the [Problem] that err is or wraps. Any
// other error becomes a 500 that does not show its text, which may say more than
// clients should know: the caller logs it.
func WriteError(w http.ResponseWriter, err error) {
	if p, ok := errors.AsType[*Problem](err); ok {
		WriteProblem(w, *p)
		return
	}
	WriteProblem(w, Problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "the request failed; the logs of the node say why", MayHaveRun: true})
}

// WriteJSON answers a request with v as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone when this fails
}
