package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// round is what one Run knows from round to round. It belongs to one goroutine.
type round struct {
	b      *Bootstrap
	joiner Joiner

	latest       []ContactPoint // of the last discovery that did not fail
	points       []ContactPoint
	changedAt    time.Time
	discoveryErr string
	answers      map[ContactPoint]Answer
	failures     map[ContactPoint]string // why a probe failed, to log it once

	logged   Cause
	loggedAt time.Time
}

// discovered takes in the outcome of a discovery and reports whether the
// contact points changed.
func (r *round) discovered(d discovered) bool {
	log := r.b.conf.Logger
	if d.err != nil {
		if text := d.err.Error(); text != r.discoveryErr {
			r.discoveryErr = text
			log.Warn("discovery failed", slog.Any("error", d.err))
		}
		return false
	}
	r.discoveryErr = ""
	r.latest = d.points
	return r.merge(time.Now())
}

// pause is the time until the next round.
func (r *round) pause() time.Duration {
	wait := r.b.jittered(r.b.conf.ProbeInterval)
	if r.b.Last().Cause == NotStable { // be there when the margin has passed
		wait = min(wait, max(0, r.b.conf.Settings.StableMargin-time.Since(r.changedAt)))
	}
	return wait
}

// merge sets the contact points: those of the last discovery, and others as
// long as they answer, because a discovery that forgets a node does not end it.
// It reports whether they changed.
func (r *round) merge(now time.Time) bool {
	points := slices.Clone(r.latest)
	for point, a := range r.answers {
		switch {
		case slices.Contains(points, point):
		case now.Sub(a.At) <= r.b.conf.Settings.AnswerTTL:
			points = append(points, point)
		default:
			delete(r.answers, point)
			delete(r.failures, point)
		}
	}
	slices.SortFunc(points, CompareContactPoints)
	if slices.Equal(points, r.points) && !r.changedAt.IsZero() {
		return false
	}
	r.points, r.changedAt = points, now
	for point := range r.failures {
		if !slices.Contains(points, point) {
			delete(r.failures, point)
		}
	}
	r.b.conf.Logger.Info("contact points changed", slog.Int("count", len(points)), slog.String("addrs", list(points)))
	return true
}

// run probes, decides and acts. It reports whether this node is now a member.
func (r *round) run(ctx context.Context) (done bool, err error) {
	b := r.b
	for _, o := range b.prober.probe(ctx, r.points) {
		r.probed(ctx, o)
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	now := time.Now()
	if !r.changedAt.IsZero() {
		r.merge(now)
	}
	o := Observations{Points: r.points, ChangedAt: r.changedAt, DiscoveryErr: r.discoveryErr}
	for _, a := range r.answers {
		o.Answers = append(o.Answers, a)
	}
	d := Decide(now, b.self, b.conf.Settings, o)
	b.reason.Store(&d)
	r.log(ctx, d, now)
	if d.Action == KeepProbing {
		return false, nil
	}
	return r.act(ctx, d)
}

// probed takes in the outcome of a probe. A failure leaves the last answer to
// age, so that one lost packet does not restart anything.
func (r *round) probed(ctx context.Context, o outcome) {
	if o.err == nil {
		r.answers[o.point] = o.answer
		delete(r.failures, o.point)
		return
	}
	if text := o.err.Error(); ctx.Err() == nil && !errors.Is(o.err, context.Canceled) && r.failures[o.point] != text {
		r.failures[o.point] = text
		r.b.conf.Logger.InfoContext(ctx, "contact point does not answer", slog.String("contact_point", o.point.Addr()), slog.Any("error", o.err))
	}
}

// act carries out a decision to join or to form.
func (r *round) act(ctx context.Context, d Decision) (done bool, err error) {
	log := r.b.conf.Logger
	started := time.Now()
	err = r.b.attempt(ctx, d, r.joiner)
	switch {
	case err == nil:
		log.InfoContext(ctx, "in the cluster", slog.String("action", string(d.Action)), slog.Duration("took", time.Since(started)))
		return true, nil
	case ctx.Err() != nil:
		return false, err
	case isFinal(err):
		return false, fmt.Errorf("bootstrap: %s was refused for good: %w", d.Action, err)
	case errors.Is(err, ErrClaimed):
		// whoever was first needs a moment before it answers probes as a member
		r.changedAt = time.Now()
		log.InfoContext(ctx, "another node has formed the cluster", slog.Any("error", err))
	default:
		log.WarnContext(ctx, "attempt failed", slog.String("action", string(d.Action)), slog.Any("error", err))
	}
	d.Reason = fmt.Sprintf("%s, but to %s failed: %v", d.Reason, d.Action, err)
	d.Action = KeepProbing
	r.b.reason.Store(&d)
	return false, nil
}

// log logs a decision when its cause is new, and now and then while it is not.
func (r *round) log(ctx context.Context, d Decision, now time.Time) {
	if d.Action == KeepProbing && d.Cause == r.logged && now.Sub(r.loggedAt) < r.b.conf.RemindInterval {
		return
	}
	r.logged, r.loggedAt = d.Cause, now
	r.b.conf.Logger.InfoContext(ctx, "bootstrap decision",
		slog.String("decision", string(d.Action)), slog.String("cause", string(d.Cause)), slog.String("reason", d.Reason),
		slog.String("addrs", strings.Join(d.Addrs, ",")), slog.Int("contact_points", len(r.points)), slog.Int("answers", len(r.answers)))
}
