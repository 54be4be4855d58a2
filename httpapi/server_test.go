package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/httpapi"
)

func listen(t *testing.T, c httpapi.ServerConfig) *httpapi.Server {
	t.Helper()
	c.Name, c.Addr = "test", "127.0.0.1:0"
	s, err := httpapi.Listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run serves until the test or stop ends it; ended gets what Run returned.
func run(t *testing.T, s *httpapi.Server) (stop func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	out := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		out <- s.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return cancel, out
}

// client has connections of its own.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func get(t *testing.T, c *http.Client, url string) (status int, body string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Close { // the client takes the header out
		resp.Header.Set("Connection", "close")
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestATakenPortIsAnErrorThatHelps(t *testing.T) {
	s := listen(t, httpapi.ServerConfig{Handler: http.NotFoundHandler()})
	defer s.Unbind()
	_, err := httpapi.Listen(t.Context(), httpapi.ServerConfig{Name: "management", Addr: s.Addr(), Handler: http.NotFoundHandler()})
	if err == nil || !strings.Contains(err.Error(), "management server cannot listen at "+s.Addr()) || !strings.Contains(err.Error(), "configure another address") {
		t.Errorf("got %v, want an error with address and remedy", err)
	}
}

func TestServerConfigReportsAllProblemsAtOnce(t *testing.T) {
	_, err := httpapi.Listen(t.Context(), httpapi.ServerConfig{Addr: "x", ReadTimeout: -1, ReadHeaderTimeout: -1, IdleTimeout: -1, ShutdownTimeout: -1, MaxHeaderBytes: -1})
	if err == nil {
		t.Fatal("got nil, want errors")
	}
	for _, want := range []string{"Name", `"x" is not host:port`, "Handler", "ReadTimeout", "ReadHeaderTimeout", "IdleTimeout", "ShutdownTimeout", "MaxHeaderBytes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	entered, finish := make(chan struct{}), make(chan struct{})
	s := listen(t, httpapi.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		_, _ = io.WriteString(w, "done")
	})})
	stop, ended := run(t, s)
	answered := make(chan string, 1)
	c := client(t)
	go func() {
		status, body, _ := get(t, c, "http://"+s.Addr())
		answered <- fmt.Sprint(status, " ", body)
	}()
	<-entered
	stop()
	for { // wait for the event: the port refuses
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	select {
	case err := <-ended:
		t.Fatalf("Run returned %v while a request was in flight", err)
	default:
	}
	close(finish)
	if got := <-answered; got != "200 done" {
		t.Errorf("the request in flight got %q, want 200 done", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run got %v, want nil", err)
	}
}

func TestRunCutsWhatDoesNotEnd(t *testing.T) {
	var log recorder
	entered, left := make(chan struct{}), make(chan struct{})
	s := listen(t, httpapi.ServerConfig{ShutdownTimeout: 50 * time.Millisecond, Logger: slog.New(&log), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	})})
	stop, ended := run(t, s)
	failed := make(chan error, 1)
	c := client(t)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr(), nil)
		if err == nil {
			_, err = c.Do(req) //nolint:bodyclose // there is none
		}
		failed <- err
	}()
	<-entered
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run got %v, want nil", err)
	}
	select {
	case <-left:
	default:
		t.Error("Run returned before the handler had")
	}
	if err := <-failed; err == nil {
		t.Error("the request that was cut got an answer")
	}
	if !strings.Contains(log.text(), "http connections cut server=test in_flight=1") {
		t.Errorf("log got %q, want the cut", log.text())
	}
}

func TestUnbindServesTheConnectionsThatExist(t *testing.T) {
	s := listen(t, httpapi.ServerConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })})
	stop, ended := run(t, s)
	c := client(t)
	get(t, c, "http://"+s.Addr())
	if s.Drain().LastConn().IsZero() {
		t.Error("the connection was not noticed")
	}
	s.Unbind()
	s.Unbind()
	if _, body, _ := get(t, c, "http://"+s.Addr()); body != "ok" {
		t.Errorf("on the kept connection got %q, want ok", body)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr()); err == nil {
		_ = conn.Close()
		t.Error("a new connection was accepted, want it refused")
	}
	select {
	case err := <-ended:
		t.Fatalf("Run ended with %v, want it to go on", err)
	default:
	}
	s.Drain().Start()
	if _, _, header := get(t, c, "http://"+s.Addr()); header.Get("Connection") != "close" {
		t.Errorf("while draining got %v, want Connection: close", header)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run got %v, want nil", err)
	}
}

func TestAHandlerThatPanicsIsAnsweredWithAProblem(t *testing.T) {
	var log recorder
	s := listen(t, httpapi.ServerConfig{Logger: slog.New(&log), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/half":
			_, _ = io.WriteString(w, "half")
			panic("after half")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		panic("boom")
	})})
	run(t, s)
	c := client(t)
	status, body, _ := get(t, c, "http://"+s.Addr()+"/")
	if status != 500 || !strings.Contains(body, `"code":"internal"`) || strings.Contains(body, "boom") {
		t.Errorf("got %d %s, want a 500 problem that does not say why", status, body)
	}
	if !strings.Contains(log.text(), "panic=boom") || !strings.Contains(log.text(), "server_test.go") {
		t.Errorf("log got %q, want the panic with its stack", log.text())
	}
	for _, path := range []string{"/half", "/abort"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s looked like a whole answer, want the connection cut", path)
		}
	}
}

func TestSlowAndLargeHeadsAreRefused(t *testing.T) {
	s := listen(t, httpapi.ServerConfig{ReadHeaderTimeout: 50 * time.Millisecond, MaxHeaderBytes: 1024, Handler: http.NotFoundHandler()})
	run(t, s)
	dial := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	slow := dial()
	if _, err := io.WriteString(slow, "GET / HTTP/1.1\r\nHost: a\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("a slow head got %v, want the connection closed", err)
	}
	large := dial()
	// the server may close while this is being written
	_, _ = io.WriteString(large, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 20000)+"\r\n\r\n")
	line, err := bufio.NewReader(large).ReadString('\n')
	if !strings.Contains(line, "431") && !errors.Is(err, io.EOF) && err == nil {
		t.Errorf("a large head got %q, want 431", line)
	}
}
