package frontdoor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// maxReason bounds how much of a target's answer is kept as the reason.
const maxReason = 256

// watch checks one target until ctx ends.
func (d *Door) watch(ctx context.Context, t *target) {
	good, bad := 0, 0
	for {
		reason := d.check(ctx, t)
		if ctx.Err() != nil {
			return
		}
		if reason == "" {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
			t.reason.Store(&reason)
		}
		ready := t.ready.Load()
		switch {
		case !ready && good >= d.cfg.HealthyAfter:
			d.change(ctx, t, true, "")
		case ready && bad >= d.cfg.UnhealthyAfter:
			d.change(ctx, t, false, reason)
		}
		if !sleep(ctx, d.cfg.Interval) {
			return
		}
	}
}

// check returns "" when the target is ready, else why it is not.
func (d *Door) check(ctx context.Context, t *target) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.ReadyURL, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close() //nolint:errcheck // nothing depends on it
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return fmt.Sprintf("answered %d, then: %v", resp.StatusCode, err)
	}
	return strings.TrimSpace(fmt.Sprintf("answered %d: %s", resp.StatusCode, body))
}

func (d *Door) change(ctx context.Context, t *target, ready bool, reason string) {
	t.ready.Store(ready)
	d.readyMu.Lock()
	if ready {
		d.numReady++
	} else {
		d.numReady--
	}
	if d.numReady == len(d.targets) {
		select {
		case <-d.allReady:
		default:
			close(d.allReady)
		}
	}
	d.readyMu.Unlock()
	if ready {
		d.cfg.Logger.InfoContext(ctx, "target is ready", slog.String("target", t.Name))
	} else {
		d.cfg.Logger.InfoContext(ctx, "target is not ready", slog.String("target", t.Name), slog.String("reason", reason))
	}
	if d.cfg.Changed != nil {
		d.cfg.Changed(t.Target, ready, reason)
	}
}
