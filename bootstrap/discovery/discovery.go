package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Discovery finds candidates.
type Discovery interface {
	// Discover answers the candidates that are known now, possibly none, in any
	// order and without duplicates. It returns soon after ctx has ended, with an
	// error, and never an error together with targets. It may be called by one
	// goroutine at a time; the caller bounds it with ctx, tries again after a
	// failure with a growing pause, and owns the slice.
	Discover(ctx context.Context) ([]Target, error)
}

// Target is a candidate contact point: where a node's management server may
// listen.
type Target struct {
	// Host is a name or an IP address without brackets.
	Host string
	// Port of the management server, 0 when the source does not know: the
	// caller's own management port is used then.
	Port int
	// IP is the address of Host, when the source knows it; it is preferred to
	// Host for reaching and for ordering candidates.
	IP netip.Addr
}

// Addr is the host:port to reach; defaultPort stands in for an unknown port.
func (t Target) Addr(defaultPort int) string {
	host, port := t.Host, t.Port
	if t.IP.IsValid() {
		host = t.IP.Unmap().String()
	}
	if port == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// Validate says what is wrong with a target.
func (t Target) Validate() error {
	var errs []error
	if t.Host == "" && !t.IP.IsValid() {
		errs = append(errs, errors.New("discovery: target has neither host nor ip"))
	}
	if strings.ContainsAny(t.Host, " /?#@[]\x00") || len(t.Host) > 253 {
		errs = append(errs, fmt.Errorf("discovery: target host %.300q is not a host name or an IP address without brackets", t.Host))
	}
	if t.Port < 0 || t.Port > 65535 {
		errs = append(errs, fmt.Errorf("discovery: target %q has port %d: use 1..65535, or 0 for the own management port", t.Host, t.Port))
	}
	return errors.Join(errs...)
}

// ParseTarget reads "host", "host:port", "ip", "ip:port" or "[ipv6]:port".
func ParseTarget(s string) (Target, error) {
	if s == "" {
		return Target{}, errors.New("discovery: empty target: want host or host:port")
	}
	t := Target{Host: s}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		t.Host = s[1 : len(s)-1]
	}
	if ip, err := netip.ParseAddr(t.Host); err == nil {
		t.IP = ip
		return t, t.Validate()
	}
	host, port, err := net.SplitHostPort(s)
	switch {
	case err != nil && strings.ContainsAny(s, ":[]"):
		return Target{}, fmt.Errorf("discovery: target %q: want host, host:port or [ipv6]:port", s)
	case err == nil:
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Target{}, fmt.Errorf("discovery: target %q: port %q is not a number in 1..65535", s, port)
		}
		t.Host, t.Port = host, int(n)
	}
	if ip, err := netip.ParseAddr(t.Host); err == nil {
		t.IP = ip
	}
	return t, t.Validate()
}
