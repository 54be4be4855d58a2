package remote

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
)

// Names of the lanes' RPC in proto/remote/v1.
const (
	lanesService = "holdfast.remote.v1.Lanes"
	lanesMethod  = "Lane"
)

const (
	// httpWindow is how much a receiver lets a sender send ahead, per connection.
	httpWindow = 1 << 20
	ioBuffer   = 64 << 10
	// idleHTTP2 closes connections that carry no lane (any more).
	idleHTTP2 = 10 * time.Second
)

// maxPacket is the size of the largest packet of a lane.
func (e *Endpoint) maxPacket() int {
	return max(e.cfg.BatchBytes, e.cfg.Bounds.MaxMessage) + 64<<10
}

func (e *Endpoint) serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(carried{}),
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(e.maxPacket()),
		grpc.MaxSendMsgSize(e.maxPacket()),
		grpc.InitialWindowSize(httpWindow),
		grpc.InitialConnWindowSize(httpWindow),
		grpc.ReadBufferSize(ioBuffer),
		grpc.WriteBufferSize(ioBuffer),
		grpc.MaxConcurrentStreams(4),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(e.cfg.HandshakeTimeout),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: e.cfg.KeepAlive.Time, Timeout: e.cfg.KeepAlive.Timeout, MaxConnectionIdle: idleHTTP2,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
}

// client returns a gRPC connection over c, which it owns. It never dials: a
// connection that broke is the lane's business.
func (e *Endpoint) client(c net.Conn) (*grpc.ClientConn, error) {
	var used atomic.Bool
	return grpc.NewClient("passthrough:///"+e.cfg.Cluster,
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errors.New("remote: the connection broke")
			}
			return c, nil
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // c is over TLS already when configured
		grpc.WithAuthority("holdfast"),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableHealthCheck(),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithInitialWindowSize(httpWindow),
		grpc.WithInitialConnWindowSize(httpWindow),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: max(10*time.Second, e.cfg.KeepAlive.Time), Timeout: e.cfg.KeepAlive.Timeout}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(e.maxPacket()), grpc.MaxCallSendMsgSize(e.maxPacket())),
	)
}

// serveHTTP2 serves the connections that speak HTTP/2 until the server stops.
func (e *Endpoint) serveHTTP2(s *grpc.Server) {
	if err := s.Serve(e.virtual); err != nil && !errors.Is(err, grpc.ErrServerStopped) && !e.closing.Load() {
		e.log.Error("grpc server ended", slog.Any("error", err))
	}
}

// carried are the credentials of connections that were secured before gRPC saw
// them. They let a handler find its connection.
type carried struct{}

// carrier is the auth info of carried.
type carrier struct {
	credentials.CommonAuthInfo
	conn *inbound
}

// AuthType implements [credentials.AuthInfo].
func (carrier) AuthType() string { return "holdfast" }

// inboundOf returns the connection of a stream.
func inboundOf(ctx context.Context) *inbound {
	if p, ok := peer.FromContext(ctx); ok {
		if c, ok := p.AuthInfo.(carrier); ok {
			return c.conn
		}
	}
	return nil
}

// ClientHandshake implements [credentials.TransportCredentials].
func (carried) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("remote: these credentials are for servers")
}

// ServerHandshake implements [credentials.TransportCredentials].
func (carried) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	in, ok := c.(*inbound)
	if !ok {
		return nil, nil, errors.New("remote: connection of an unknown kind")
	}
	return c, carrier{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, in}, nil
}

// Info implements [credentials.TransportCredentials].
func (carried) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "holdfast"}
}

// Clone implements [credentials.TransportCredentials].
func (carried) Clone() credentials.TransportCredentials { return carried{} }

// OverrideServerName implements [credentials.TransportCredentials].
func (carried) OverrideServerName(string) error { return nil }
