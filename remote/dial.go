package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/holdfast-go/holdfast/cluster/member"
	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
)

// errRefused: the host answered that nothing listens at the address.
var errRefused = errors.New("remote: connection refused: nothing listens there")

// dial opens a connection to an address: TCP and, if configured, TLS.
func (e *Endpoint) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := e.dialTCP(ctx, addr)
	if err != nil || e.clientTLS == nil {
		return c, err
	}
	cfg := e.clientTLS
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		cfg = cfg.Clone()
		if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("remote: address %q is not host:port", addr)
		}
	}
	secure := tls.Client(c, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("remote: TLS handshake with %s: %w", addr, err)
	}
	return secure, nil
}

// dialTCP connects to an address. It reports errRefused only when every
// address of the host refuses: one of several proves nothing.
func (e *Endpoint) dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("remote: address %q is not host:port", addr)
	}
	hosts := []string{host}
	if net.ParseIP(host) == nil {
		if hosts, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return nil, fmt.Errorf("remote: look %s up: %w", host, err)
		}
	}
	refused := 0
	for _, h := range hosts {
		c, dialErr := e.dialer.DialContext(ctx, "tcp", net.JoinHostPort(h, port))
		if dialErr == nil {
			return c, nil
		}
		if errors.Is(dialErr, syscall.ECONNREFUSED) {
			refused++
		}
		err = dialErr
	}
	if refused == len(hosts) && refused > 0 {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	return nil, fmt.Errorf("remote: dial %s: %w", addr, err)
}

// open dials a node and does the raw handshake.
func (e *Endpoint) open(ctx context.Context, addr string, h *remotev1.Hello) (net.Conn, *remotev1.Welcome, error) {
	ctx, cancel := e.handshakeContext(ctx)
	defer cancel()
	c, err := e.dial(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	w, err := greet(ctx, c, h)
	if err != nil {
		_ = c.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}
	return c, w, nil
}

// Probe implements [Transport].
func (e *Endpoint) Probe(ctx context.Context, to member.Node) Evidence {
	c, w, err := e.open(ctx, to.Addr, e.hello(to.ID, purposeProbe))
	if err != nil {
		if errors.Is(err, errRefused) {
			return Refused
		}
		return Unknown
	}
	_ = c.Close()
	// The identity counts also when the answer is a refusal: whoever it is that
	// lives there, it is not the one meant.
	switch member.NodeID(w.GetId()) {
	case "":
		return Unknown
	case to.ID:
		return Alive
	}
	return Replaced
}

// Identify asks who lives at an address. It fails with a [*RefusedError] when
// it is a node of another cluster or protocol version.
func (e *Endpoint) Identify(ctx context.Context, addr string) (Identity, error) {
	c, w, err := e.open(ctx, addr, e.hello("", purposeProbe))
	if err != nil {
		return Identity{}, fmt.Errorf("remote: identify %s: %w", addr, err)
	}
	_ = c.Close()
	if err := accepted(w, ""); err != nil {
		return Identity{}, fmt.Errorf("remote: identify %s: %w", addr, err)
	}
	return Identity{
		Node:    member.Node{ID: member.NodeID(w.GetId()), Addr: w.GetAddr()},
		Cluster: w.GetCluster(), Generation: w.GetGeneration(),
	}, nil
}

// ProbeAddr asks which node lives at an address.
func (e *Endpoint) ProbeAddr(ctx context.Context, addr string) (member.Node, error) {
	id, err := e.Identify(ctx, addr)
	return id.Node, err
}

// AskAddr asks whatever node lives at an address, on a connection of its own.
// The caller speaks as a node without generation: this is how nodes that do
// not belong together (any more) find each other.
func (e *Endpoint) AskAddr(ctx context.Context, addr string, s Service, payload []byte) ([]byte, error) {
	to, err := e.ProbeAddr(ctx, addr)
	if err != nil {
		return nil, &Error{Code: CodeNotSent, Text: err.Error(), Err: err}
	}
	// What the node calls its address may not be reachable from here.
	l := newLane(e, member.Node{ID: to.ID, Addr: addr}, Control, purposeAsk)
	l.begin()
	defer l.close("the ask is over")
	return l.out.Ask(ctx, s, payload)
}
