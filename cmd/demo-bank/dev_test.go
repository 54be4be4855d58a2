//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

// testRole is the environment variable that makes the test binary act as a program.
const testRole = "DEMO_BANK_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(testRole) {
	case "fake node":
		os.Exit(fakeNode(os.Args[1:]))
	case "node":
		main()
	}
	os.Exit(m.Run())
}

// fakeNode takes the command line of serve, answers on the management and the
// API address, and ends at SIGTERM.
func fakeNode(args []string) int {
	c, err := parseServe(args[1:]...)
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		fmt.Println(err)
		return exitUsage
	}
	fail := make(chan error, 2)
	for _, addr := range []string{c.ManagementAddr, c.APIAddr} {
		go func() {
			fail <- http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // a fake
				_, _ = io.WriteString(w, c.Zone)
			}))
		}()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	select {
	case err := <-fail:
		fmt.Println(err)
		return exitFailure
	case <-stop:
		fmt.Println("stopping")
		return 0
	}
}

// buffer is an output that can be waited for.
type buffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// find waits until the pattern occurs n times and returns all that it captured first.
func (b *buffer) find(t *testing.T, pattern string, n int) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		b.mu.Lock()
		text, changed := b.text.String(), b.changed
		b.mu.Unlock()
		if m := re.FindAllStringSubmatch(text, -1); len(m) >= n {
			var found []string
			for _, s := range m {
				found = append(found, s[len(s)-1])
			}
			return found
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("no %q in the output after %v: %s", pattern, patience, text)
		}
	}
}

type devRun struct {
	base int
	data string
	out  *buffer
	stop context.CancelFunc
	done chan error
}

// startDev runs dev with processes of this test binary in a role as its nodes.
func startDev(t *testing.T, role string, nodes int, data string, flags ...string) *devRun {
	t.Helper()
	t.Setenv(testRole, role)
	d := &devRun{base: freeBase(t, nodes), data: data, out: &buffer{changed: make(chan struct{})}, done: make(chan error, 1)}
	var ctx context.Context
	ctx, d.stop = context.WithCancel(t.Context())
	kill := make(chan struct{})
	args := append([]string{"dev", "--nodes", strconv.Itoa(nodes), "--base-port", strconv.Itoa(d.base), "--data", d.data}, flags...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.done <- execute(&environment{ctx: ctx, kill: kill, stdout: d.out, stderr: d.out}, args)
	}()
	t.Cleanup(func() {
		d.stop()
		close(kill)
		<-ended
		if t.Failed() {
			t.Logf("output of dev:\n%s", d.out)
		}
	})
	return d
}

// freeBase returns a base port whose ports are free.
func freeBase(t *testing.T, nodes int) int {
	t.Helper()
	for range 100 {
		c := devCmd{Nodes: nodes, BasePort: 20000 + rand.IntN(10000)}
		l, err := c.claimPorts(t.Context(), c.nodes())
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return c.BasePort
	}
	t.Fatal("no free ports")
	return 0
}

// send makes a request through the front door, on a connection of its own so
// that the door chooses anew. It posts when there is a body.
func (d *devRun) send(t *testing.T, path, key, body string) (status int, answer string) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d%s", d.base, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Tenant-Id", "tenant-a")
	req.Header.Set("Idempotency-Key", key)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

func (d *devRun) get(t *testing.T) string {
	t.Helper()
	_, answer := d.send(t, "/", "", "")
	return answer
}

func TestDevStartsNodesBehindAFrontDoor(t *testing.T) {
	d := startDev(t, "fake node", 3, t.TempDir()+"/data")
	d.out.find(t, `All ready\.`, 1)
	seen := map[string]bool{d.get(t): true, d.get(t): true, d.get(t): true}
	if len(seen) != 3 || !seen["zone-a"] || !seen["zone-b"] || !seen["zone-c"] {
		t.Errorf("answers through the front door: got %v, want one of each node", seen)
	}
	for _, want := range []string{
		fmt.Sprintf(`node-3 +\d+ +http://127.0.0.1:%d +http://127.0.0.1:%d +127.0.0.1:%d\n`, d.base+301, d.base+302, d.base+320),
		fmt.Sprintf(`curl -s -H 'X-Tenant-Id: tenant-a' http://127.0.0.1:%d/accounts/42`, d.base),
		`kill -9 \d+`,
	} {
		d.out.find(t, want, 1)
	}
	d.stop()
	if err := <-d.done; err != nil {
		t.Errorf("dev: got %v, want nil", err)
	}
	if got := strings.Count(d.out.String(), "| stopping\n"); got != 3 {
		t.Errorf("nodes that stopped by themselves: got %d, want 3", got)
	}
}

func TestDevReplacesANodeThatDied(t *testing.T) {
	d := startDev(t, "fake node", 2, t.TempDir()+"/data")
	d.out.find(t, `All ready\.`, 1)
	pid, err := strconv.Atoi(d.out.find(t, `node=node-2 pid=(\d+)`, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.out.find(t, `msg="target is ready" target=node-2`, 2)
	if got := d.out.find(t, `msg="node started" node=node-2 pid=(\d+)`, 2); got[0] == got[1] {
		t.Errorf("pids: got %v, want two different ones", got)
	}
}

func TestDevLeavesADeadNodeDeadWhenTold(t *testing.T) {
	d := startDev(t, "fake node", 1, t.TempDir()+"/data", "--no-replace")
	d.out.find(t, `All ready\.`, 1)
	pid, err := strconv.Atoi(d.out.find(t, `node=node-1 pid=(\d+)`, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-d.done; err == nil || !strings.Contains(err.Error(), "no node is left") {
		t.Errorf("dev: got %v, want that no node is left", err)
	}
}

func TestDevNamesAPortThatIsTaken(t *testing.T) {
	base := freeBase(t, 2)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", base+202))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out buffer
	out.changed = make(chan struct{})
	err = execute(&environment{ctx: t.Context(), stdout: &out, stderr: &out},
		[]string{"dev", "--nodes=2", fmt.Sprintf("--base-port=%d", base), "--data=" + t.TempDir()})
	want := fmt.Sprintf("port %d, for the management of node-2, is taken: stop what listens there, or choose other ports with --base-port", base+202)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	if out.String() != "" {
		t.Errorf("output: got %q, want none before the error", out.String())
	}
}

func TestTwoDevsDoNotShareData(t *testing.T) {
	d := startDev(t, "fake node", 1, t.TempDir()+"/data")
	d.out.find(t, `All ready\.`, 1)
	err := execute(&environment{ctx: t.Context(), stdout: io.Discard, stderr: io.Discard}, []string{"dev", "--data", d.data})
	if err == nil || !strings.Contains(err.Error(), "in use by another demo-bank dev") {
		t.Errorf("got %v, want that the directory is in use", err)
	}
}

// TestTheBankSurvives is the tutorial: real nodes, real journal.
func TestTheBankSurvives(t *testing.T) {
	data := t.TempDir() + "/data"
	expect := func(d *devRun, path, key, body, want string) {
		t.Helper()
		if status, got := d.send(t, path, key, body); status != http.StatusOK || got != want+"\n" {
			t.Errorf("%s %s: got %d %s, want 200 %s", path, body, status, got, want)
		}
	}
	d := startDev(t, "node", 3, data)
	d.out.find(t, `All ready\.`, 1)
	expect(d, "/accounts/42/deposit", "k1", `{"amount":100}`, `{"accountNo":"42","balance":100,"sequence":1,"transactionId":"k1"}`)
	expect(d, "/accounts/42/withdraw", "k2", `{"amount":30}`, `{"accountNo":"42","balance":70,"sequence":2,"transactionId":"k2"}`)

	// Whichever node has the account: all are killed, one after the other.
	for i := 1; i <= 3; i++ {
		pids := d.out.find(t, fmt.Sprintf(`node=node-%d pid=(\d+)`, i), 1)
		pid, err := strconv.Atoi(pids[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		expect(d, "/accounts/42", "", "", `{"accountNo":"42","balance":70,"sequence":2}`)
		d.out.find(t, fmt.Sprintf(`msg="target is ready" target=node-%d`, i), 2)
		// Two of three must live at any time: the next one dies when the new one votes.
		d.out.find(t, `step="voter added"`, 2+i)
	}
	// A repeat gets the reply of then.
	expect(d, "/accounts/42/deposit", "k1", `{"amount":100}`, `{"accountNo":"42","balance":100,"sequence":1,"transactionId":"k1"}`)
	d.stop()
	if err := <-d.done; err != nil {
		t.Fatalf("dev: got %v, want nil", err)
	}
	d.out.find(t, `exited" node=node-\d pid=\d+ state="exit status 0"`, 3)

	d = startDev(t, "node", 3, data)
	d.out.find(t, `All ready\.`, 1)
	expect(d, "/accounts/42", "", "", `{"accountNo":"42","balance":70,"sequence":2}`)
}
