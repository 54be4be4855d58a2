package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/holdfast-go/holdfast/cmd/demo-bank/internal/bank"
	"github.com/holdfast-go/holdfast/httpapi"
)

// TenantHeader names the tenant of a request.
const TenantHeader = "X-Tenant-Id"

// maxBody bounds a request body in bytes; the longest sensible one has about 20.
const maxBody = 4 << 10

var accountNumber = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Accounts is the bank behind the API. Errors are those of package sharding.
type Accounts interface {
	// Balance returns the statement of an account.
	Balance(ctx context.Context, tenant, accountNo string) (bank.Statement, error)
	// Deposit puts amount into an account, once for each key.
	Deposit(ctx context.Context, tenant, accountNo, key string, amount int64) (bank.Statement, error)
	// Withdraw takes amount from an account, once for each key.
	Withdraw(ctx context.Context, tenant, accountNo, key string, amount int64) (bank.Statement, error)
}

// Config of the API.
type Config struct {
	// Accounts answers the requests. Required.
	Accounts Accounts
	// Tenants that are served. At least one.
	Tenants []string
	// Timeout bounds a request; until then commands are tried again by
	// themselves. Defaults to 10 s.
	Timeout time.Duration
	// Logger for failures that clients are not told the cause of. Defaults to
	// one that discards.
	Logger *slog.Logger
}

type api struct{ cfg Config }

// New returns the handler of the API.
func New(cfg Config) (http.Handler, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if cfg.Accounts == nil {
		errs = append(errs, errors.New("api: Accounts is required"))
	}
	if len(cfg.Tenants) == 0 {
		errs = append(errs, errors.New("api: Tenants is empty: name at least one"))
	}
	if cfg.Timeout < 0 {
		errs = append(errs, fmt.Errorf("api: Timeout is %v: it must be positive", cfg.Timeout))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	a := &api{cfg: cfg}
	r := chi.NewRouter()
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) {
		httpapi.WriteProblem(w, httpapi.Problem{Status: http.StatusNotFound, Code: "no-such-route", Detail: "there is no such path: see /accounts/{no}"})
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, req *http.Request) {
		allowed := methods(r, req)
		w.Header().Set("Allow", allowed)
		httpapi.WriteProblem(w, httpapi.Problem{Status: http.StatusMethodNotAllowed, Code: "method-not-allowed", Detail: fmt.Sprintf("%.20s is not for this path: use %s", req.Method, allowed)})
	})
	r.Get("/accounts/{no}", a.handle(a.balance))
	r.Post("/accounts/{no}/deposit", a.handle(a.command(cfg.Accounts.Deposit)))
	r.Post("/accounts/{no}/withdraw", a.handle(a.command(cfg.Accounts.Withdraw)))
	return r, nil
}

// methods returns those that the path of a request has.
func methods(r chi.Routes, req *http.Request) string {
	path := req.URL.RawPath
	if path == "" {
		path = req.URL.Path
	}
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		if r.Match(chi.NewRouteContext(), m, path) {
			allowed = append(allowed, m)
		}
	}
	return strings.Join(allowed, ", ")
}

// account of a tenant, as the request names it.
type account struct{ tenant, no string }

// answer to a request.
type answer struct {
	AccountNo     string `json:"accountNo"`
	Balance       int64  `json:"balance"`
	Sequence      uint64 `json:"sequence"`
	TransactionID string `json:"transactionId,omitempty"`
}

// handle wraps what all requests have in common.
func (a *api) handle(f func(http.ResponseWriter, *http.Request, account) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
		defer cancel()
		acc, err := a.account(r)
		var reply answer
		if err == nil {
			reply, err = f(w, r.WithContext(ctx), acc)
		}
		if err != nil {
			a.fail(w, r, err)
			return
		}
		body, err := json.Marshal(reply)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if _, err := w.Write(append(body, '\n')); err != nil {
			a.cfg.Logger.DebugContext(r.Context(), "client went away", slog.Any("err", err))
		}
	}
}

func (a *api) account(r *http.Request) (account, error) {
	acc := account{tenant: r.Header.Get(TenantHeader), no: chi.URLParam(r, "no")}
	if !slices.Contains(a.cfg.Tenants, acc.tenant) {
		return acc, &httpapi.Problem{Status: http.StatusBadRequest, Code: "unknown-tenant", Field: TenantHeader, Detail: fmt.Sprintf("header %s is %.100q: name a tenant of this bank", TenantHeader, acc.tenant)}
	}
	if !accountNumber.MatchString(acc.no) {
		return acc, unprocessable("account-number", "", "an account number is 1 to 64 letters, digits, - or _")
	}
	return acc, nil
}

func (a *api) balance(_ http.ResponseWriter, r *http.Request, acc account) (answer, error) {
	s, err := a.cfg.Accounts.Balance(r.Context(), acc.tenant, acc.no)
	return answer{AccountNo: acc.no, Balance: s.Balance, Sequence: s.Sequence}, err
}

// transfer is the body of a deposit or a withdrawal.
type transfer struct {
	// Amount is a pointer to tell 0 from nothing.
	Amount *int64 `json:"amount"`
}

type commandFunc func(ctx context.Context, tenant, accountNo, key string, amount int64) (bank.Statement, error)

func (a *api) command(run commandFunc) func(http.ResponseWriter, *http.Request, account) (answer, error) {
	return func(w http.ResponseWriter, r *http.Request, acc account) (answer, error) {
		key, err := idempotencyKey(r)
		if err != nil {
			return answer{}, err
		}
		body, err := httpapi.DecodeJSON[transfer](w, r, maxBody)
		if err != nil {
			return answer{}, err
		}
		switch {
		case body.Amount == nil:
			return answer{}, unprocessable("field-missing", "amount", "field \"amount\" is missing")
		case *body.Amount < 1 || *body.Amount > bank.MaxAmount:
			return answer{}, unprocessable("amount-out-of-range", "amount", fmt.Sprintf("field \"amount\" is %d: it must be 1 to %d", *body.Amount, bank.MaxAmount))
		}
		s, err := run(r.Context(), acc.tenant, acc.no, key, *body.Amount)
		return answer{AccountNo: acc.no, Balance: s.Balance, Sequence: s.Sequence, TransactionID: key}, err
	}
}

func idempotencyKey(r *http.Request) (string, error) {
	key, err := httpapi.IdempotencyKey(r)
	p, bad := errors.AsType[*httpapi.Problem](err)
	switch {
	case bad:
		return "", unprocessable("idempotency-key", p.Field, p.Detail)
	case err != nil:
		return "", err
	case key == "":
		return "", unprocessable("idempotency-key", httpapi.IdempotencyHeader,
			"send a key of your own in header Idempotency-Key or query parameter transactionId, so that the request can be repeated safely")
	}
	return key, nil
}

func unprocessable(code, field, detail string) error {
	return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Code: code, Field: field, Detail: detail}
}
