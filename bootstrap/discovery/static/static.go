package static

import (
	"context"
	"errors"
	"slices"

	"github.com/holdfast-go/holdfast/bootstrap/discovery"
)

// Discovery answers a fixed list of targets.
type Discovery struct{ targets []discovery.Target }

// New returns a discovery of targets, without duplicates and in the order
// given. It reports every target that is not valid.
func New(targets ...discovery.Target) (*Discovery, error) {
	d := &Discovery{}
	var errs []error
	for _, t := range targets {
		if err := t.Validate(); err != nil {
			errs = append(errs, err)
		}
		if !slices.Contains(d.targets, t) {
			d.targets = append(d.targets, t)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return d, nil
}

// Parse returns a discovery of targets written as [discovery.ParseTarget] reads
// them. It reports every text that it cannot read.
func Parse(texts ...string) (*Discovery, error) {
	targets := make([]discovery.Target, 0, len(texts))
	var errs []error
	for _, s := range texts {
		t, err := discovery.ParseTarget(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		targets = append(targets, t)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return New(targets...)
}

// Discover implements [discovery.Discovery]. It fails only when ctx has ended.
func (d *Discovery) Discover(ctx context.Context) ([]discovery.Target, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return slices.Clone(d.targets), nil
}
