package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Config configures an [Endpoint].
type Config struct {
	// Self is this node. Addr is the host:port that other nodes dial; use an IP
	// address, because "connection refused" proves a node dead only when the
	// name cannot point elsewhere. Port 0 takes the port that was bound. Required.
	Self member.Node
	// BindAddr is the host:port to listen on. Defaults to Self.Addr.
	BindAddr string
	// Cluster is the name that all nodes of a cluster share. Required.
	Cluster string
	// Generation is the initial generation, see [Endpoint.SetGeneration].
	// Defaults to 0: in no cluster yet.
	Generation uint64
	// Bounds limit each lane.
	Bounds Bounds
	// BatchBytes is the size up to which messages are sent together. Defaults
	// to 256 KiB.
	BatchBytes int
	// HandshakeTimeout bounds dialing and both handshakes of a connection.
	// Defaults to 3 s.
	HandshakeTimeout time.Duration
	// MaxHandshakes is the number of connections that may be in their
	// handshake; more are closed. Defaults to 256.
	MaxHandshakes int
	// MaxConnections is the number of accepted connections; more are closed.
	// Defaults to 4096.
	MaxConnections int
	// KeepAlive says how fast a silent connection is noticed.
	KeepAlive KeepAlive
	// TLS secures all connections when one of its fields is set.
	TLS TLS
	// Logger receives what happens. Defaults to none.
	Logger *slog.Logger
	// Events are told what happens.
	Events Events
}

// KeepAlive says how fast a connection counts as broken when nothing comes from
// the other side although its process has not ended.
type KeepAlive struct {
	// Time without a sign of life until one is asked for. Defaults to 5 s, at
	// least 1 s. Dialers of lanes ask no more often than each 10 s for an answer of
	// the process, and each Time for one of its host.
	Time time.Duration
	// Timeout is how long to wait for it. Defaults to 3 s.
	Timeout time.Duration
}

// TLS says how connections are secured. With Server and Client set the files
// are not used.
type TLS struct {
	// Server and Client are complete configurations for the two sides.
	Server, Client *tls.Config
	// CertFile and KeyFile hold this node's certificate and key in PEM form.
	// They are read again when they change.
	CertFile, KeyFile string
	// CAFile holds the certificates, in PEM form, of which one must have signed
	// the certificates of all nodes. Each side checks the other (mutual TLS).
	CAFile string
	// ServerName is the name that the certificate of every node carries.
	// Defaults to the host part of the dialed address.
	ServerName string
}

// Events tell what happens, each from the goroutine in which it does: they must
// not block. Any of them may be nil.
type Events struct {
	// LaneUp: a connection of a lane of this node is established.
	LaneUp func(to member.Node, c Class)
	// LaneDown: such a connection broke or was closed.
	LaneDown func(to member.Node, c Class, err error)
	// LaneClosed: the lane is closed for good, its incarnation is dead.
	LaneClosed func(to member.Node, c Class, reason string)
	// TellsLost: n tells were on the wire when a connection broke, or queued
	// when the lane closed; they may not have been handled.
	TellsLost func(to member.Node, c Class, n int)
	// RepliesLost: n replies found no room.
	RepliesLost func(from member.Node, c Class, n int)
	// HelloRefused: this node would not have a connection.
	HelloRefused func(remoteAddr string, why Refusal)
	// Garbage: a connection spoke no known protocol, or took too long to say
	// which, and was closed.
	Garbage func(remoteAddr string)
	// Overload: a connection was closed because a bound was reached.
	Overload func(remoteAddr string)
}

// withDefaults returns c with its zero fields set.
func (c Config) withDefaults() Config {
	if c.BindAddr == "" {
		c.BindAddr = c.Self.Addr
	}
	c.Bounds = c.Bounds.WithDefaults()
	if c.BatchBytes == 0 {
		c.BatchBytes = 256 << 10
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = 3 * time.Second
	}
	if c.MaxHandshakes == 0 {
		c.MaxHandshakes = 256
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 4096
	}
	if c.KeepAlive.Time == 0 {
		c.KeepAlive.Time = 5 * time.Second
	}
	if c.KeepAlive.Timeout == 0 {
		c.KeepAlive.Timeout = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("remote: config: "+format, args...)) }
	if c.Self.ID == "" {
		bad("Self.ID is empty: draw a new one for each process start")
	}
	if host, _, err := net.SplitHostPort(c.Self.Addr); err != nil {
		bad("Self.Addr %q is not host:port", c.Self.Addr)
	} else if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		bad("Self.Addr %q names no host that others can dial: set it to this node's address and BindAddr to what to listen on", c.Self.Addr)
	}
	if _, _, err := net.SplitHostPort(c.BindAddr); err != nil {
		bad("BindAddr %q is not host:port", c.BindAddr)
	}
	if c.Cluster == "" {
		bad("Cluster is empty: name the cluster")
	}
	if len(c.Cluster) > maxName {
		bad("Cluster has %d bytes, at most %d are allowed", len(c.Cluster), maxName)
	}
	if len(c.Self.ID) > maxName || len(c.Self.Addr) > maxName {
		bad("Self.ID and Self.Addr may have at most %d bytes", maxName)
	}
	for _, f := range []struct {
		name       string
		value, min int
	}{
		{"Bounds.QueueLen", c.Bounds.QueueLen, 1},
		{"Bounds.QueueBytes", c.Bounds.QueueBytes, 1},
		{"Bounds.MaxMessage", c.Bounds.MaxMessage, 1},
		{"Bounds.MaxAsks", c.Bounds.MaxAsks, 1},
		{"BatchBytes", c.BatchBytes, 1024},
		{"MaxHandshakes", c.MaxHandshakes, 1},
		{"MaxConnections", c.MaxConnections, 1},
	} {
		if f.value < f.min {
			bad("%s is %d, want at least %d", f.name, f.value, f.min)
		}
	}
	if c.Bounds.MaxMessage > 1<<30 {
		bad("Bounds.MaxMessage is %d, want at most 1 GiB", c.Bounds.MaxMessage)
	}
	if c.HandshakeTimeout < 0 {
		bad("HandshakeTimeout is %s, want more than 0", c.HandshakeTimeout)
	}
	if c.KeepAlive.Time < time.Second || c.KeepAlive.Timeout < time.Second {
		bad("KeepAlive is %s and %s, want at least 1s each", c.KeepAlive.Time, c.KeepAlive.Timeout)
	}
	return errors.Join(append(errs, c.TLS.validate())...)
}

func (t TLS) validate() error {
	files := t.CertFile != "" || t.KeyFile != "" || t.CAFile != ""
	switch {
	case (t.Server == nil) != (t.Client == nil):
		return errors.New("remote: config: TLS.Server and TLS.Client go together: a node both dials and accepts")
	case t.Server != nil && files:
		return errors.New("remote: config: set either TLS.Server and TLS.Client, or the files, not both")
	case files && (t.CertFile == "" || t.KeyFile == "" || t.CAFile == ""):
		return errors.New("remote: config: TLS.CertFile, TLS.KeyFile and TLS.CAFile go together")
	}
	return nil
}

// load returns the configurations of both sides, nil without TLS.
func (t TLS) load(log *slog.Logger) (server, client *tls.Config, err error) {
	if t.Server != nil {
		return t.Server.Clone(), t.Client.Clone(), nil
	}
	if t.CertFile == "" {
		return nil, nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, nil, fmt.Errorf("remote: TLS.CAFile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("remote: TLS.CAFile %s holds no certificate in PEM form", t.CAFile)
	}
	pair, err := newKeyPair(t.CertFile, t.KeyFile, log)
	if err != nil {
		return nil, nil, err
	}
	server = &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return pair.current(), nil
		},
	}
	client = &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool,
		ServerName: t.ServerName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return pair.current(), nil
		},
	}
	return server, client, nil
}
