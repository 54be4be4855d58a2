package discovery_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/bootstrap/discovery"
)

func TestTargetsAreParsed(t *testing.T) {
	ip := netip.MustParseAddr
	tests := []struct {
		in   string
		want discovery.Target
		addr string // with default port 9002
		err  string
	}{
		{in: "node-1", want: discovery.Target{Host: "node-1"}, addr: "node-1:9002"},
		{in: "node-1:80", want: discovery.Target{Host: "node-1", Port: 80}, addr: "node-1:80"},
		{in: "10.0.0.2", want: discovery.Target{Host: "10.0.0.2", IP: ip("10.0.0.2")}, addr: "10.0.0.2:9002"},
		{in: "10.0.0.2:80", want: discovery.Target{Host: "10.0.0.2", Port: 80, IP: ip("10.0.0.2")}, addr: "10.0.0.2:80"},
		{in: "::1", want: discovery.Target{Host: "::1", IP: ip("::1")}, addr: "[::1]:9002"},
		{in: "[::1]", want: discovery.Target{Host: "::1", IP: ip("::1")}, addr: "[::1]:9002"},
		{in: "[fd00::1]:80", want: discovery.Target{Host: "fd00::1", Port: 80, IP: ip("fd00::1")}, addr: "[fd00::1]:80"},
		{in: "", err: "empty target"},
		{in: ":80", err: "neither host nor ip"},
		{in: "a:0", err: "1..65535"},
		{in: "a:65536", err: "1..65535"},
		{in: "a:http", err: "1..65535"},
		{in: "a:b:80", err: "want host"},
		{in: "[::1", err: "want host"},
		{in: "a b", err: "not a host name"},
		{in: "http://a", err: "1..65535"},
		{in: "a/b", err: "not a host name"},
		{in: "user@a", err: "not a host name"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := discovery.ParseTarget(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %+v, %v, want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %+v, %v, want %+v", got, err, tt.want)
			}
			if addr := got.Addr(9002); addr != tt.addr {
				t.Errorf("Addr(9002) got %q, want %q", addr, tt.addr)
			}
		})
	}
}

func FuzzParsedTargetsAreValid(f *testing.F) {
	for _, s := range []string{"a", "a:1", "[::1]:1", "::1", "[", "]:1", "::ffff:10.0.0.1", "fe80::1%eth0", "[fe80::1%eth0]:1", "::%0 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := discovery.ParseTarget(s)
		if err != nil {
			return
		}
		if err := target.Validate(); err != nil {
			t.Fatalf("ParseTarget(%q) got %+v: %v", s, target, err)
		}
	})
}
