package api

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/holdfast-go/holdfast/httpapi"
	"github.com/holdfast-go/holdfast/sharding"
)

// fail answers with the problem that err is.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if r.Method == http.MethodGet {
		p.MayHaveRun = false // a question changes nothing
	}
	if p.Status == http.StatusInternalServerError {
		a.cfg.Logger.ErrorContext(r.Context(), "request failed",
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	httpapi.WriteProblem(w, p)
}

// problemOf translates an error into what the client gets to know. Commands
// carry a key, so one that may have run can be sent again safely.
func problemOf(err error) httpapi.Problem {
	if p, ok := errors.AsType[*httpapi.Problem](err); ok {
		return *p
	}
	mayHaveRun := sharding.MayHaveRun(err)
	switch code := sharding.CodeOf(err); code {
	case sharding.Rejected:
		refusal, _ := sharding.AsRefusal(err)
		return httpapi.Problem{Status: http.StatusBadRequest, Code: refusal.Code, Detail: refusal.Text}
	case sharding.CommandReused:
		return httpapi.Problem{Status: http.StatusConflict, Code: "idempotency-key-reused", Field: httpapi.IdempotencyHeader, Detail: "this key came before with another request: draw a new one"}
	case sharding.Unavailable, sharding.Overloaded, sharding.Stopped, sharding.UnknownType, sharding.UnknownMethod, sharding.Timeout, sharding.Lost:
		return httpapi.Problem{
			Status: http.StatusServiceUnavailable, Code: string(code), Retryable: true, MayHaveRun: mayHaveRun,
			Detail: "the account could not be reached in time: send the same request again, with the same key",
		}
	case sharding.Malformed:
		return httpapi.Problem{Status: http.StatusUnprocessableEntity, Code: string(code), Detail: "the account refused the form of the request"}
	case sharding.TooLarge:
		return httpapi.Problem{Status: http.StatusRequestEntityTooLarge, Code: "body-too-large", MayHaveRun: mayHaveRun}
	case sharding.Failed:
	}
	return httpapi.Problem{
		Status: http.StatusInternalServerError, Code: "internal", Retryable: true, MayHaveRun: mayHaveRun,
		Detail: "the request failed: the log of the node says why",
	}
}
