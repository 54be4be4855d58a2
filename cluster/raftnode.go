package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// raftPurpose names raft's streams on the cluster port.
const raftPurpose = "raft"

// raftTimeout bounds one raft RPC and the wait for a place in raft's queue. A
// dead connection must not be kept for raft's default of 10 s.
const raftTimeout = time.Second

// serverAddress names the incarnation as well as the address, so that every
// raft connection reaches exactly the process it means: a blank newcomer at a
// dead voter's address would otherwise vote in its place, and committed entries
// could be lost.
func serverAddress(n member.Node) raft.ServerAddress { return raft.ServerAddress(n.String()) }

func parseServer(a raft.ServerAddress) (member.Node, error) {
	id, addr, ok := strings.Cut(string(a), "@")
	if !ok || id == "" || addr == "" {
		return member.Node{}, fmt.Errorf("cluster: raft server address %q is not id@host:port", a)
	}
	return member.Node{ID: member.NodeID(id), Addr: addr}, nil
}

// streamLayer carries raft's connections over the cluster port.
type streamLayer struct {
	net.Listener
	t Transport
}

// Dial implements raft.StreamLayer.
func (s streamLayer) Dial(a raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	n, err := parseServer(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.t.DialStream(ctx, n, raftPurpose)
}

// raftTransport is raft's network transport with two additions: it remembers
// when this node last accepted a message of a leader, by term (for the session
// floor), and it can make this node stand for election at once (when the
// leader's death is proved). Embedding keeps WithPreVote.
type raftTransport struct {
	*raft.NetworkTransport
	consumer chan raft.RPC
	now      func() time.Time
	appended func() // called when a leader has sent something

	mu    sync.Mutex
	heard map[uint64]time.Time // term -> last AppendEntries received
}

func newRaftTransport(t Transport, l net.Listener, appended func(), log *slog.Logger) *raftTransport {
	return &raftTransport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: streamLayer{l, t}, MaxPool: 3, Timeout: raftTimeout, Logger: raftLogger(log),
			// No pipelining: when a follower refuses, as at the end of a leadership,
			// raft's pipeline may block for good, and then raft never shuts down.
			MaxRPCsInFlight: 1,
		}),
		consumer: make(chan raft.RPC),
		now:      time.Now,
		appended: appended,
		heard:    map[uint64]time.Time{},
	}
}

// Consumer implements raft.Transport.
func (t *raftTransport) Consumer() <-chan raft.RPC { return t.consumer }

// SetHeartbeatHandler implements raft.Transport.
func (t *raftTransport) SetHeartbeatHandler(cb func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		t.record(rpc)
		cb(rpc)
	})
}

// run hands RPCs from the network to raft until ctx ends.
func (t *raftTransport) run(ctx context.Context) {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			t.record(rpc)
			select {
			case t.consumer <- rpc:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (t *raftTransport) record(rpc raft.RPC) {
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok {
		return
	}
	defer t.appended()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard[req.Term] = t.now()
	for len(t.heard) > 16 { // terms only grow: forget the oldest
		oldest := req.Term
		for term := range t.heard {
			oldest = min(oldest, term)
		}
		delete(t.heard, oldest)
	}
}

// heardBefore returns when this node last received a message of a leader whose
// term is older than term. It counts refused messages too, which is safe: the
// floor can only become later by that.
func (t *raftTransport) heardBefore(term uint64) (last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for have, at := range t.heard {
		if have < term && at.After(last) {
			last = at
		}
	}
	return last
}

// led notes that this node itself led in term until now.
func (t *raftTransport) led(term uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard[term] = t.now()
}

// campaign makes raft stand for election now, as if the leader had asked it to.
func (t *raftTransport) campaign(ctx context.Context, self member.Node) error {
	resp := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self.ID), Addr: []byte(serverAddress(self)),
		}},
		RespChan: resp,
	}
	select {
	case t.consumer <- rpc:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case r := <-resp:
		return r.Error
	case <-ctx.Done():
		return ctx.Err()
	}
}

func raftConfig(self member.NodeID, t Timing, notify chan<- bool, log *slog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(self)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = t.Heartbeat, t.Heartbeat, t.LeaderLease
	c.CommitTimeout = 50 * time.Millisecond
	c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 4096, 4096, 30*time.Second
	c.ShutdownOnRemove = false
	c.NotifyCh = notify
	c.NoLegacyTelemetry = true
	c.Logger = raftLogger(log)
	return c
}

// raftLogger passes raft's own log on at debug level: what matters of it is
// logged again, as decisions, by this package.
func raftLogger(log *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "raft", Level: hclog.Info, Output: logWriter{log}, DisableTime: true,
	})
}

type logWriter struct{ log *slog.Logger }

// Write implements io.Writer.
func (w logWriter) Write(b []byte) (int, error) {
	w.log.Debug("raft", slog.String("line", string(bytes.TrimSpace(b))))
	return len(b), nil
}
