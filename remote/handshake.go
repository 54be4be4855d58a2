package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/cluster/member"
	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
)

// ProtocolVersion is the version of the handshake and of what follows it. Nodes
// of different versions do not talk.
const ProtocolVersion = 1

// A raw connection starts with the magic and the length of the hello, four
// bytes big-endian; the welcome comes back with its length in front.
const (
	magic        = "HOLDFAST"
	http2Preface = "PRI * HT" // as much of it as the magic has
	maxHello     = 4 << 10
	maxName      = 255
)

// Purposes of connections.
const (
	purposeProbe  = "probe"
	purposeLane   = "lane"
	purposeAsk    = "ask" // a lane for one ask, of no generation
	purposeStream = "stream/"
)

// hello returns what this node says first on a connection.
func (e *Endpoint) hello(to member.NodeID, purpose string) *remotev1.Hello {
	h := &remotev1.Hello{
		Protocol: ProtocolVersion, Cluster: e.cfg.Cluster, FromId: string(e.self.ID), FromAddr: e.self.Addr,
		ToId: string(to), Purpose: purpose,
	}
	if purpose != purposeAsk && purpose != purposeProbe {
		h.Generation = e.generation.Load()
	}
	return h
}

// judge answers a hello.
func (e *Endpoint) judge(h *remotev1.Hello) *remotev1.Welcome {
	w := &remotev1.Welcome{
		Protocol: ProtocolVersion, Cluster: e.cfg.Cluster, Id: string(e.self.ID), Addr: e.self.Addr,
		Generation: e.generation.Load(),
	}
	refuse := func(r Refusal, format string, args ...any) *remotev1.Welcome {
		w.Refusal, w.Text = string(r), fmt.Sprintf(format, args...)
		return w
	}
	generation := h.GetGeneration()
	switch {
	case h.GetProtocol() != ProtocolVersion:
		return refuse(RefusedProtocol, "%s speaks protocol version %d, the caller %d: run versions that share one", e.self, ProtocolVersion, h.GetProtocol())
	case h.GetCluster() != e.cfg.Cluster:
		return refuse(RefusedCluster, "%s belongs to cluster %q, the caller to %q: set the same cluster name", e.self, e.cfg.Cluster, clip(h.GetCluster()))
	case h.GetPurpose() == purposeProbe:
		return w
	case h.GetFromId() == "" || h.GetFromAddr() == "" || len(h.GetFromId()) > maxName || len(h.GetFromAddr()) > maxName:
		return refuse(RefusedMalformed, "the caller does not name itself")
	case h.GetToId() == "":
		return refuse(RefusedMalformed, "the caller does not name the node it means")
	case h.GetToId() != string(e.self.ID):
		return refuse(RefusedNode, "%s lives at %s, not %s", e.self.ID, e.self.Addr, clip(h.GetToId()))
	case generation != 0 && w.GetGeneration() != 0 && generation != w.GetGeneration():
		return refuse(RefusedGeneration, "%s is in generation %d, the caller in %d", e.self, w.GetGeneration(), generation)
	case e.closing.Load():
		return refuse(RefusedClosing, "%s is shutting down", e.self)
	}
	return w
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxName)], "?") }

// accepted turns a welcome into an error unless it accepts. want is the node
// that was meant, "" for any.
func accepted(w *remotev1.Welcome, want member.NodeID) error {
	switch {
	case w.GetId() == "":
		return errors.New("remote: the answer to the hello names no node")
	case want != "" && w.GetId() != string(want):
		return &RefusedError{Refusal: RefusedNode, Text: fmt.Sprintf("%s lives at %s, not %s", w.GetId(), w.GetAddr(), want)}
	case w.GetRefusal() != "":
		return &RefusedError{Refusal: Refusal(w.GetRefusal()), Text: w.GetText()}
	}
	return nil
}

// greet sends a hello on a raw connection and returns the welcome.
func greet(ctx context.Context, c net.Conn, h *remotev1.Hello) (*remotev1.Welcome, error) {
	stop := closeAtEnd(ctx, c)
	defer stop()
	body, err := proto.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("remote: encode hello: %w", err)
	}
	if len(body) > maxHello {
		return nil, fmt.Errorf("remote: hello of %d bytes, at most %d are allowed: shorten cluster name or purpose", len(body), maxHello)
	}
	out := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(body)))
	if _, err := c.Write(append(out, body...)); err != nil {
		return nil, fmt.Errorf("remote: send hello: %w", err)
	}
	body, err = readBlock(c)
	if err != nil {
		return nil, fmt.Errorf("remote: read welcome: %w", err)
	}
	w := new(remotev1.Welcome)
	if err := proto.Unmarshal(body, w); err != nil {
		return nil, fmt.Errorf("remote: decode welcome: %w", err)
	}
	return w, nil
}

// closeAtEnd closes c when ctx ends before stop is called.
func closeAtEnd(ctx context.Context, c net.Conn) (stop func()) {
	end := context.AfterFunc(ctx, func() { _ = c.Close() })
	return func() { end() }
}

// readBlock reads a length and as many bytes, not one more.
func readBlock(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxHello {
		return nil, fmt.Errorf("handshake of %d bytes, at most %d are allowed", n, maxHello)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r, body)
	return body, err
}

// answer writes a welcome to a raw connection.
func answer(c net.Conn, w *remotev1.Welcome) error {
	body, err := proto.Marshal(w)
	if err != nil {
		return fmt.Errorf("remote: encode welcome: %w", err)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	_, err = c.Write(append(out, body...))
	return err
}

// serveRaw reads the hello of a raw connection and acts on it.
func (e *Endpoint) serveRaw(c *inbound) {
	body, err := readBlock(c)
	h := new(remotev1.Hello)
	if err == nil {
		err = proto.Unmarshal(body, h)
	}
	if err != nil {
		e.garbage(c)
		return
	}
	w := e.judge(h)
	name, isStream := strings.CutPrefix(h.GetPurpose(), purposeStream)
	var l *streamListener
	if w.GetRefusal() == "" && h.GetPurpose() != purposeProbe {
		if l = e.listenerOf(name); !isStream || l == nil {
			w.Refusal, w.Text = string(RefusedPurpose), fmt.Sprintf("%s accepts no streams for %q", e.self, clip(name))
		} else if !l.reserve() {
			w.Refusal, w.Text = string(RefusedBusy), fmt.Sprintf("%s does not accept its streams for %q fast enough", e.self, clip(name))
		}
	}
	if w.GetRefusal() != "" || l == nil {
		if err := answer(c, w); err == nil && w.GetRefusal() != "" {
			e.refused(c, Refusal(w.GetRefusal()), w.GetText())
		}
		_ = c.Close()
		return
	}
	s := e.newStream(c, member.Node{ID: member.NodeID(h.GetFromId()), Addr: h.GetFromAddr()}, h.GetGeneration())
	if err := answer(c, w); err != nil || !c.establish() {
		l.release()
		_ = s.Close()
		return
	}
	l.deliver(s)
}

// deadline returns ctx bounded by the handshake timeout.
func (e *Endpoint) handshakeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, e.cfg.HandshakeTimeout, errHandshakeTimeout)
}

var errHandshakeTimeout = errors.New("remote: no answer within HandshakeTimeout")

// backoff is the pause between attempts to connect: doubling, with jitter.
const (
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)
