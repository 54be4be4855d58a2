package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// newTransport returns the transport of probes. Probes go to nodes of the same
// network: a proxy from the environment is not asked.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxIdleConnsPerHost:    1,
		MaxConnsPerHost:        2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
	}
}

// prober asks contact points.
type prober struct {
	client   *http.Client
	scheme   string
	timeout  time.Duration
	grace    time.Duration
	parallel int
}

// outcome is what became of one probe.
type outcome struct {
	point  ContactPoint
	answer Answer
	err    error
}

// probe asks all points, at most parallel at a time, and returns when each has
// answered or failed. Once one has named members the others get only a grace
// period more: there is a cluster to join. It leaves no goroutine behind.
func (p *prober) probe(ctx context.Context, points []ContactPoint) []outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var hurry sync.Once
	var timer *time.Timer
	slots := make(chan struct{}, p.parallel)
	out := make([]outcome, len(points))
	var wg sync.WaitGroup
	for i, point := range points {
		wg.Go(func() {
			slots <- struct{}{} // every holder ends within timeout
			defer func() { <-slots }()
			answer, err := p.ask(ctx, point)
			out[i] = outcome{point, answer, err}
			if err == nil && len(answer.Seeds) > 0 {
				hurry.Do(func() { timer = time.AfterFunc(p.grace, cancel) })
			}
		})
	}
	wg.Wait()
	if timer != nil {
		timer.Stop()
	}
	return out
}

// ask probes one contact point.
func (p *prober) ask(ctx context.Context, point ContactPoint) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	at := url.URL{Scheme: p.scheme, Host: point.Addr(), Path: SeedNodesPath}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes) // so that the connection can be used again
		return Answer{}, fmt.Errorf("GET %s: status %s, want 200: is this the management port of a node?", at.String(), resp.Status)
	}
	body, err := decodeSeedNodes(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("GET %s: %w", at.String(), err)
	}
	return Answer{
		Point: point, At: time.Now(), Node: body.Self.ID, Management: body.Self.Management,
		Cluster: body.Cluster, Generation: body.Generation, Seeds: body.SeedNodes,
	}, nil
}

// newProber returns the prober of a configuration with its defaults set.
func newProber(c Config) *prober {
	return &prober{
		client: &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("a management server does not redirect")
		}},
		scheme: c.Scheme, timeout: c.ProbeTimeout, grace: c.ProbeTimeout / 4, parallel: c.ProbeParallel,
	}
}
