package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	alive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/alive" {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(alive.Close)
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(sick.Close)
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args string
		code int
		want string // in the output
	}{
		{"help", "--help", 0, "Run several nodes"},
		{"nothing", "", 0, "Usage: demo-bank"},
		{"help of a command", "dev --help", 0, "--base-port"},
		{"unknown flag", "dev --node 3", 2, "unknown flag --node"},
		{"unknown command", "server", 2, "unexpected argument server"},
		{"not a number", "dev --nodes three", 2, "--nodes"},
		{"no node", "dev --nodes 0", 2, "--nodes is 0: it must be 1 to 9"},
		{"too many nodes", "dev --nodes 10", 2, "--nodes is 10: it must be 1 to 9"},
		{"port too high", "dev --base-port 65000", 2, "--base-port is 65000"},
		{"data is a file", "dev --data " + file, 1, "choose another one with --data"},
		{"contradiction", "serve --no-new-cluster-enabled --drain-idle=-1s", 2, "--drain-idle is -1s"},
		{"journal in a file", "serve --journal " + file + "/x/bank.sqlite", 15, "--journal"},
		{"healthcheck of a live node", "healthcheck --addr " + alive.Listener.Addr().String(), 0, ""},
		{"healthcheck of a sick node", "healthcheck --addr " + sick.Listener.Addr().String(), 1, "not alive"},
		{"healthcheck of nothing", "healthcheck --addr 127.0.0.1:1", 1, "not alive"},
		{"healthcheck of nonsense", "healthcheck --addr nowhere", 2, "must be host:port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(strings.Fields(tt.args), &out, &out)
			if code != tt.code || !strings.Contains(out.String(), tt.want) {
				t.Errorf("demo-bank %s: got exit code %d and %q, want %d and %q", tt.args, code, out.String(), tt.code, tt.want)
			}
		})
	}
}

// parseServe returns what the command line makes of serve's flags.
func parseServe(args ...string) (serveCmd, error) {
	var c cli
	parser, err := newParser(&c, &environment{ctx: context.Background(), stdout: os.Stdout, stderr: os.Stderr}, func(int) {})
	if err != nil {
		return serveCmd{}, err
	}
	_, err = parser.Parse(append([]string{"serve"}, args...))
	return c.Serve.withDefaults(), err
}

func TestServeRefusesContradictions(t *testing.T) {
	tests := []struct {
		name, args, want string
	}{
		{"defaults", "", ""},
		{"as dev starts it", "--contact-points=127.0.0.1:1,127.0.0.1:2 --required-contact-points=2", ""},
		{"address without a port", "--api-addr=localhost", "--api-addr \"localhost\" must be host:port"},
		{"port 0", "--cluster-addr=0.0.0.0:0", "--cluster-addr \"0.0.0.0:0\" must be"},
		{"one port twice", "--api-addr=0.0.0.0:9002", "--api-addr and --management-addr have the same port 9002"},
		{"two bind hosts", "--cluster-addr=127.0.0.1:25520", "listen on different hosts"},
		{"advertise a name", "--advertise=localhost", "must be an IP address"},
		{"advertise everything", "--advertise=0.0.0.0", "--advertise \"0.0.0.0\""},
		{"more required than there are", "--contact-points=a:1,b:1 --required-contact-points=3", "it must be 1 to 2"},
		{"contact point without sense", "--contact-points=a:b:c", "--contact-points"},
		{"memory for several", "--journal=memory --contact-points=a:1,b:1", "--journal memory serves one node only"},
		{"nothing to join", "--no-new-cluster-enabled", "there is nothing to join"},
		{"tenant with a slash", "--tenants=a/b", "--tenants"},
		{"drain longer than the shutdown", "--drain-idle=60s", "--drain-idle is 1m0s: it must be 0 to less than 1m0s"},
		{"no time to shut down", "--shutdown-deadline=0s", "--shutdown-deadline"},
		{"negative margin", "--stable-margin=-1s", "--stable-margin is -1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parseServe(strings.Fields(tt.args)...)
			if err != nil {
				t.Fatalf("parsing: %v", err)
			}
			err = c.validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("serve %s: got %v, want %q", tt.args, err, tt.want)
			}
		})
	}
}

func TestServeReadsTheEnvironment(t *testing.T) {
	t.Setenv("HOLDFAST_CONTACT_POINTS", "10.0.0.1:9002,10.0.0.2:9002")
	t.Setenv("HOLDFAST_NEW_CLUSTER_ENABLED", "false")
	t.Setenv("HOLDFAST_LOG_LEVEL", "debug")
	t.Setenv("HOLDFAST_ZONE", "a")
	c, err := parseServe("--zone=b")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.ContactPoints) != 2 || c.RequiredContactPoints != 2 || c.NewClusterEnabled || c.LogLevel.String() != "DEBUG" {
		t.Errorf("got %+v, want what the environment says", c)
	}
	if c.Zone != "b" {
		t.Errorf("zone: got %q, want the flag to win", c.Zone)
	}
	t.Setenv("HOLDFAST_PROFILE", "slow")
	if _, err := parseServe(); err == nil || !strings.Contains(err.Error(), "--profile") {
		t.Errorf("got %v, want that --profile is none of the choices", err)
	}
}
