package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/holdfast-go/holdfast/cmd/demo-bank/internal/bank"
	"github.com/holdfast-go/holdfast/sharding"
)

// fake is a bank in memory that also fails on demand.
type fake struct {
	accounts map[string]bank.Account
	replies  map[string]reply
	fail     error
	// hang makes every call wait for the end of its ctx.
	hang bool
}

type reply struct {
	command   string
	statement bank.Statement
}

func newFake() *fake { return &fake{accounts: map[string]bank.Account{}, replies: map[string]reply{}} }

func (f *fake) call(ctx context.Context, tenant, no, key, command string, decide func(bank.Account) ([]bank.Posted, error)) (bank.Statement, error) {
	id := tenant + "/" + no
	shardingError := func(code sharding.Code, err error) error {
		return &sharding.Error{Code: code, Type: "account", ID: id, Err: err}
	}
	if f.hang {
		<-ctx.Done()
		return bank.Statement{}, shardingError(sharding.Timeout, ctx.Err())
	}
	if f.fail != nil {
		return bank.Statement{}, f.fail
	}
	if r, ok := f.replies[id+key]; ok && key != "" {
		if r.command != command {
			return bank.Statement{}, shardingError(sharding.CommandReused, nil)
		}
		return r.statement, nil
	}
	a := f.accounts[id]
	events, err := decide(a)
	if err != nil {
		return bank.Statement{}, shardingError(sharding.Rejected, err)
	}
	for _, e := range events {
		a = a.Apply(e)
	}
	f.accounts[id] = a
	f.replies[id+key] = reply{command, a.Statement()}
	return a.Statement(), nil
}

func (f *fake) Balance(ctx context.Context, tenant, no string) (bank.Statement, error) {
	return f.call(ctx, tenant, no, "", "", func(bank.Account) ([]bank.Posted, error) { return nil, nil })
}

func (f *fake) Deposit(ctx context.Context, tenant, no, key string, amount int64) (bank.Statement, error) {
	return f.call(ctx, tenant, no, key, fmt.Sprint("deposit", amount), func(a bank.Account) ([]bank.Posted, error) {
		return a.Deposit(bank.Deposit{Amount: amount})
	})
}

func (f *fake) Withdraw(ctx context.Context, tenant, no, key string, amount int64) (bank.Statement, error) {
	return f.call(ctx, tenant, no, key, fmt.Sprint("withdraw", amount), func(a bank.Account) ([]bank.Posted, error) {
		return a.Withdraw(bank.Withdraw{Amount: amount})
	})
}

func newAPI(t *testing.T, f *fake) http.Handler {
	t.Helper()
	h, err := New(Config{Accounts: f, Tenants: []string{"tenant-a", "tenant-b"}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

type response struct {
	status int
	header http.Header
}

// send runs one request; headers are "Name: value".
func send(t *testing.T, h http.Handler, method, path, body string, headers ...string) (response, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return response{w.Code, w.Header()}, w.Body.String()
}

const (
	tenantA = "X-Tenant-Id: tenant-a"
	tenantB = "X-Tenant-Id: tenant-b"
)

func TestMoneyMoves(t *testing.T) {
	h := newAPI(t, newFake())
	steps := []struct {
		method, path, body string
		headers            []string
		want               string
	}{
		{"GET", "/accounts/42", "", []string{tenantA}, `{"accountNo":"42","balance":0,"sequence":0}`},
		{"POST", "/accounts/42/deposit", `{"amount": 100}`, []string{tenantA, "Idempotency-Key: k1"}, `{"accountNo":"42","balance":100,"sequence":1,"transactionId":"k1"}`},
		{"POST", "/accounts/42/withdraw?transactionId=k2", `{"amount": 30}`, []string{tenantA}, `{"accountNo":"42","balance":70,"sequence":2,"transactionId":"k2"}`},
		// A repeat gets the recorded reply, not the present balance.
		{"POST", "/accounts/42/deposit", `{"amount": 100}`, []string{tenantA, "Idempotency-Key: k1"}, `{"accountNo":"42","balance":100,"sequence":1,"transactionId":"k1"}`},
		{"GET", "/accounts/42", "", []string{tenantA}, `{"accountNo":"42","balance":70,"sequence":2}`},
		{"GET", "/accounts/42", "", []string{tenantB}, `{"accountNo":"42","balance":0,"sequence":0}`},
	}
	for _, s := range steps {
		resp, got := send(t, h, s.method, s.path, s.body, s.headers...)
		if resp.status != http.StatusOK || got != s.want+"\n" || resp.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %s: got %d %s, want 200 %s", s.method, s.path, s.body, resp.status, got, s.want)
		}
	}
}

// problem is what a client reads of an error.
type problem struct {
	Status     int    `json:"status"`
	Code       string `json:"code"`
	Field      string `json:"field"`
	Retryable  bool   `json:"retryable"`
	MayHaveRun bool   `json:"mayHaveRun"`
}

func readProblem(t *testing.T, resp response, body string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || resp.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %s %q, want problem+json", resp.status, resp.header.Get("Content-Type"), body)
	}
	if p.Status != resp.status {
		t.Errorf("status in the body: got %d, want %d", p.Status, resp.status)
	}
	return p
}

func TestBadRequestsAreRefused(t *testing.T) {
	const (
		deposit  = "/accounts/42/deposit"
		withdraw = "/accounts/42/withdraw"
		key      = "Idempotency-Key: k"
	)
	good := []string{tenantA, key}
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code, field              string
	}{
		{"no tenant", "GET", "/accounts/42", "", nil, 400, "unknown-tenant", "X-Tenant-Id"},
		{"unknown tenant", "POST", deposit, `{"amount":1}`, []string{"X-Tenant-Id: tenant-c", key}, 400, "unknown-tenant", "X-Tenant-Id"},
		{"tenant in another case", "GET", "/accounts/42", "", []string{"X-Tenant-Id: Tenant-A"}, 400, "unknown-tenant", "X-Tenant-Id"},

		{"fraction", "POST", deposit, `{"amount":1.5}`, good, 422, "field-type", "amount"},
		{"text", "POST", deposit, `{"amount":"1"}`, good, 422, "field-type", "amount"},
		{"boolean", "POST", deposit, `{"amount":true}`, good, 422, "field-type", "amount"},
		{"exponent", "POST", deposit, `{"amount":1e3}`, good, 422, "field-type", "amount"},
		{"more than 64 bits", "POST", deposit, `{"amount":18446744073709551617}`, good, 422, "field-type", "amount"},
		{"a thousand digits", "POST", deposit, `{"amount":` + strings.Repeat("9", 1000) + `}`, good, 422, "field-type", "amount"},
		{"zero", "POST", deposit, `{"amount":0}`, good, 422, "amount-out-of-range", "amount"},
		{"negative deposit", "POST", deposit, `{"amount":-1}`, good, 422, "amount-out-of-range", "amount"},
		{"negative withdrawal", "POST", withdraw, `{"amount":-100}`, good, 422, "amount-out-of-range", "amount"},
		{"over the bound", "POST", deposit, `{"amount":10000001}`, good, 422, "amount-out-of-range", "amount"},
		{"huge", "POST", deposit, `{"amount":9223372036854775807}`, good, 422, "amount-out-of-range", "amount"},
		{"null amount", "POST", deposit, `{"amount":null}`, good, 422, "field-missing", "amount"},
		{"no amount", "POST", deposit, `{}`, good, 422, "field-missing", "amount"},
		{"unknown field", "POST", deposit, `{"amount":1,"currency":"EUR"}`, good, 422, "field-unknown", "currency"},
		{"amount twice", "POST", deposit, `{"amount":1,"amount":2}`, good, 422, "field-twice", "amount"},
		{"list", "POST", deposit, `[1]`, good, 422, "field-type", ""},
		{"two values", "POST", deposit, `{"amount":1}{"amount":2}`, good, 422, "body-trailing", ""},
		{"not JSON", "POST", deposit, `amount=1`, good, 400, "body-not-json", ""},
		{"no body", "POST", deposit, ``, good, 400, "body-empty", ""},
		{"body of 2 MiB", "POST", deposit, `{"amount":1` + strings.Repeat(" ", 2<<20) + `}`, good, 413, "body-too-large", ""},
		{"form", "POST", deposit, `amount=1`, append([]string{"Content-Type: application/x-www-form-urlencoded"}, good...), 415, "content-type", "Content-Type"},

		{"no key", "POST", deposit, `{"amount":1}`, []string{tenantA}, 422, "idempotency-key", "Idempotency-Key"},
		{"empty key", "POST", deposit + "?transactionId=", `{"amount":1}`, []string{tenantA}, 422, "idempotency-key", "Idempotency-Key"},
		{"key of 10 kB", "POST", deposit, `{"amount":1}`, []string{tenantA, "Idempotency-Key: " + strings.Repeat("k", 10_000)}, 422, "idempotency-key", "Idempotency-Key"},
		{"two keys that differ", "POST", deposit + "?transactionId=other", `{"amount":1}`, good, 422, "idempotency-key", "Idempotency-Key"},

		{"account number with a dot", "GET", "/accounts/4.2", "", []string{tenantA}, 422, "account-number", ""},
		{"account number with a slash", "GET", "/accounts/4%2F2", "", []string{tenantA}, 422, "account-number", ""},
		{"account number with a line end", "GET", "/accounts/42%0A", "", []string{tenantA}, 422, "account-number", ""},
		{"account number too long", "POST", "/accounts/" + strings.Repeat("1", 65) + "/deposit", `{"amount":1}`, good, 422, "account-number", ""},
		{"account number in Arabic digits", "GET", "/accounts/%D9%A4%D9%A2", "", []string{tenantA}, 422, "account-number", ""},

		{"unknown route", "GET", "/account/42", "", []string{tenantA}, 404, "no-such-route", ""},
		{"unknown command", "POST", "/accounts/42/close", `{"amount":1}`, good, 404, "no-such-route", ""},
		{"root", "GET", "/", "", nil, 404, "no-such-route", ""},
		{"GET of a command", "GET", deposit, "", good, 405, "method-not-allowed", ""},
		{"DELETE of an account", "DELETE", "/accounts/42", "", good, 405, "method-not-allowed", ""},

		{"withdraw more than there is", "POST", withdraw, `{"amount":1}`, good, 400, "short-balance", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			resp, body := send(t, newAPI(t, f), tt.method, tt.path, tt.body, tt.headers...)
			got := readProblem(t, resp, body)
			if want := (problem{Status: tt.status, Code: tt.code, Field: tt.field}); got != want {
				t.Errorf("got %+v (%s), want %+v", got, body, want)
			}
			if len(f.accounts) > 0 {
				t.Errorf("accounts afterwards: got %v, want none touched", f.accounts)
			}
		})
	}
}

func TestOtherMethodsAreTold(t *testing.T) {
	resp, _ := send(t, newAPI(t, newFake()), "PUT", "/accounts/42/deposit", "", tenantA)
	if got := resp.header.Get("Allow"); got != "POST" {
		t.Errorf("Allow: got %q, want POST", got)
	}
}

func TestRefusalsOfTheBank(t *testing.T) {
	h := newAPI(t, newFake())
	fill, body := send(t, h, "POST", "/accounts/1/deposit", `{"amount":10000000}`, tenantA, "Idempotency-Key: fill")
	if fill.status != http.StatusOK {
		t.Fatalf("got %d %s", fill.status, body)
	}
	resp, body := send(t, h, "POST", "/accounts/1/deposit", `{"amount":1}`, tenantA, "Idempotency-Key: more")
	if got, want := readProblem(t, resp, body), (problem{Status: 400, Code: "excess-balance"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	resp, body = send(t, h, "POST", "/accounts/1/deposit", `{"amount":2}`, tenantA, "Idempotency-Key: fill")
	if got, want := readProblem(t, resp, body), (problem{Status: 409, Code: "idempotency-key-reused", Field: "Idempotency-Key"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// Another command under the same key is another payload too.
	resp, body = send(t, h, "POST", "/accounts/1/withdraw", `{"amount":10000000}`, tenantA, "Idempotency-Key: fill")
	if got := readProblem(t, resp, body); got.Status != 409 {
		t.Errorf("got %+v, want 409", got)
	}
}

func TestFailuresSayWhatAClientMayDo(t *testing.T) {
	tests := []struct {
		code sharding.Code
		want problem
	}{
		{sharding.Unavailable, problem{Status: 503, Code: "unavailable", Retryable: true}},
		{sharding.Overloaded, problem{Status: 503, Code: "overloaded", Retryable: true}},
		{sharding.Stopped, problem{Status: 503, Code: "stopped", Retryable: true}},
		{sharding.UnknownType, problem{Status: 503, Code: "unknown-type", Retryable: true}},
		{sharding.UnknownMethod, problem{Status: 503, Code: "unknown-method", Retryable: true}},
		{sharding.Timeout, problem{Status: 503, Code: "timeout", Retryable: true, MayHaveRun: true}},
		{sharding.Lost, problem{Status: 503, Code: "lost", Retryable: true, MayHaveRun: true}},
		{sharding.Failed, problem{Status: 500, Code: "internal", Retryable: true, MayHaveRun: true}},
		{sharding.Malformed, problem{Status: 422, Code: "malformed"}},
		{sharding.TooLarge, problem{Status: 413, Code: "body-too-large"}},
		{"from-a-newer-version", problem{Status: 500, Code: "internal", Retryable: true, MayHaveRun: true}},
	}
	for _, tt := range tests {
		t.Run(string(tt.code), func(t *testing.T) {
			f := newFake()
			f.fail = &sharding.Error{Code: tt.code, Type: "account", ID: "tenant-a/1", Err: errors.New("secret detail")}
			resp, body := send(t, newAPI(t, f), "POST", "/accounts/1/deposit", `{"amount":1}`, tenantA, "Idempotency-Key: k")
			if got := readProblem(t, resp, body); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if got := resp.header.Get("Retry-After"); (tt.want.Status == 503) != (got != "") {
				t.Errorf("Retry-After with %d: got %q", tt.want.Status, got)
			}
			if strings.Contains(body, "secret") {
				t.Errorf("body: got %s, want no inner detail", body)
			}
		})
	}
	t.Run("an error of another package", func(t *testing.T) {
		f := newFake()
		f.fail = errors.New("unexpected")
		resp, body := send(t, newAPI(t, f), "GET", "/accounts/1", "", tenantA)
		if got, want := readProblem(t, resp, body), (problem{Status: 500, Code: "internal", Retryable: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestARequestEndsWithinItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.hang = true
		resp, body := send(t, newAPI(t, f), "GET", "/accounts/1", "", tenantA)
		if got := readProblem(t, resp, body); got.Status != 503 || got.Code != "timeout" {
			t.Errorf("got %+v, want 503 timeout", got)
		}
	})
}

func TestNewRefusesAnIncompleteConfiguration(t *testing.T) {
	_, err := New(Config{Timeout: -1})
	for _, want := range []string{"Accounts is required", "Tenants is empty", "Timeout is -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
