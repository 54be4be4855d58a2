package bootstrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

const sound = `{"self":{"id":"a","addr":"10.0.0.1:25520","management":"10.0.0.1:9002"},"cluster":"bank","generation":3,"seedNodes":[{"id":"b","addr":"10.0.0.2:25520","status":"up"}]}`

func TestTheHandlerAnswersSeeds(t *testing.T) {
	answer := SeedNodes{Self: Contact{ID: "a", Addr: "10.0.0.1:25520", Management: "10.0.0.1:9002"}, Cluster: "bank"}
	h := SeedNodesHandler(func() SeedNodes { return answer })
	get := func(method string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, SeedNodesPath, nil))
		return rec
	}

	rec := get(http.MethodGet)
	if got := rec.Body.String(); rec.Code != 200 || !strings.Contains(got, `"seedNodes":[]`) || !strings.Contains(got, `"generation":0`) {
		t.Errorf("before joining got %d %s, want 200 with an empty list", rec.Code, got)
	}
	answer.Generation = 3
	answer.SeedNodes = []Seed{{ID: "b", Addr: "10.0.0.2:25520", Status: "up"}}
	rec = get(http.MethodGet)
	if got := rec.Body.String(); got != sound {
		t.Errorf("as a member got %s, want %s", got, sound)
	}
	if got := rec.Header().Get("Content-Type") + "; " + rec.Header().Get("Cache-Control"); got != "application/json; no-store" {
		t.Errorf("headers got %q, want json that is not stored", got)
	}
	for range 2 * MaxSeeds {
		answer.SeedNodes = append(answer.SeedNodes, answer.SeedNodes[0])
	}
	var back SeedNodes
	if err := json.Unmarshal(get(http.MethodGet).Body.Bytes(), &back); err != nil || len(back.SeedNodes) != MaxSeeds {
		t.Errorf("with too many seeds got %d (%v), want %d", len(back.SeedNodes), err, MaxSeeds)
	}
	if rec := get(http.MethodPost); rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST got %d, want 405 with Allow", rec.Code)
	}
}

func TestBadAnswersAreRefused(t *testing.T) {
	change := func(old, with string) string {
		if !strings.Contains(sound, old) {
			t.Fatalf("%q is not part of the sound answer", old)
		}
		return strings.Replace(sound, old, with, 1)
	}
	tests := []struct{ name, body, want string }{
		{"sound", sound, ""},
		{"with a field of a newer release", change(`"cluster"`, `"zone":"a","cluster"`), ""},
		{"empty", "", "is not what"},
		{"html", "<html>", "is not what"},
		{"cut off", sound[:len(sound)-2], "is not what"},
		{"wrong type", change(`3`, `"3"`), "is not what"},
		{"too long", sound + strings.Repeat(" ", maxAnswerBytes), "longer than"},
		{"no id", change(`"id":"a"`, `"id":""`), "self.id"},
		{"long id", change(`"id":"a"`, `"id":"`+strings.Repeat("a", 65)+`"`), "self.id"},
		{"no cluster", change(`"bank"`, `""`), "cluster"},
		{"no management address", change(`10.0.0.1:9002`, ``), "self.management"},
		{"wildcard management address", change(`10.0.0.1:9002`, `0.0.0.0:9002`), "can reach"},
		{"seed without port", change(`10.0.0.2:25520`, `10.0.0.2`), "seedNodes[0].addr"},
		{"seed with port 0", change(`10.0.0.2:25520`, `10.0.0.2:0`), "1..65535"},
		{"seed with a long address", change(`10.0.0.2:25520`, strings.Repeat("x", 400)+":1"), "300 bytes"},
		{"seeds without generation", change(`"generation":3`, `"generation":0`), "without a generation"},
		{"too many seeds", change(`}]`, `}`+strings.Repeat(`,{"id":"b","addr":"10.0.0.2:1"}`, MaxSeeds)+`]`), "at most 5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeSeedNodes(strings.NewReader(tt.body))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want nil", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(sound))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"seedNodes":null}`))
	f.Add([]byte(`[1]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		answer, err := decodeSeedNodes(bytes.NewReader(body))
		if err != nil {
			return
		}
		if err := answer.validate(); err != nil {
			t.Fatalf("decoded an answer that is not valid: %v", err)
		}
		d := Decide(time.Unix(10, 0), Self{Node: member.Node{ID: "me", Addr: "h:1"}, Cluster: answer.Cluster, Host: "h", Port: 1}, Settings{}, Observations{
			Answers: []Answer{{At: time.Unix(10, 0), Node: answer.Self.ID, Management: answer.Self.Management, Cluster: answer.Cluster, Generation: answer.Generation, Seeds: answer.SeedNodes}},
		})
		if d.Action == Join && len(d.Addrs) == 0 {
			t.Fatal("joins nobody")
		}
	})
}

// Over real connections: what the client takes, and how long it waits.
func TestProbesOverHTTP(t *testing.T) {
	block := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/ok"+SeedNodesPath, http.StripPrefix("/ok", SeedNodesHandler(func() SeedNodes {
		return SeedNodes{Self: Contact{ID: "a", Addr: "10.0.0.1:1", Management: "10.0.0.1:2"}, Cluster: "bank"}
	})))
	mux.HandleFunc("/redirect"+SeedNodesPath, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/ok"+SeedNodesPath, http.StatusFound)
	})
	mux.HandleFunc("/slow"+SeedNodesPath, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-block:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/endless"+SeedNodesPath, func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			if _, err := w.Write(make([]byte, 1024)); err != nil {
				return
			}
		}
	})
	tests := []struct{ path, want string }{
		{"/ok", ""}, {"/redirect", "does not redirect"}, {"/slow", "deadline exceeded"}, {"/endless", "longer than"}, {"/none", "status 404"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, "/ok") {
					r.URL.Path = tt.path + r.URL.Path
				}
				mux.ServeHTTP(w, r)
			}))
			defer srv.Close()
			host, portText, err := net.SplitHostPort(srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			port, err := strconv.Atoi(portText)
			if err != nil {
				t.Fatal(err)
			}
			p := newProber(Config{ProbeTimeout: 500 * time.Millisecond}.WithDefaults())
			defer p.client.CloseIdleConnections()
			out := p.probe(t.Context(), []ContactPoint{{Host: host, Port: port}})
			switch err := out[0].err; {
			case tt.want == "" && (err != nil || out[0].answer.Node != "a"):
				t.Errorf("got %+v, %v, want an answer of node a", out[0].answer, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	close(block)
}

func TestProbesAreBoundedInParallel(t *testing.T) {
	var points []ContactPoint
	for i := range 40 {
		points = append(points, ContactPoint{Host: fmt.Sprintf("n%d", i), Port: 1})
	}
	now, most := make(chan int, 1), 0
	now <- 0
	p := newProber(Config{ProbeParallel: 3, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		n := <-now + 1
		most = max(most, n)
		now <- n
		n = <-now
		now <- n - 1
		return nil, fmt.Errorf("no route to %s", r.URL.Host)
	})}.WithDefaults())
	for i, o := range p.probe(t.Context(), points) {
		if o.err == nil || o.point != points[i] {
			t.Errorf("outcome %d got %+v, want an error of %v", i, o, points[i])
		}
	}
	if most > 3 {
		t.Errorf("got %d probes at a time, want at most 3", most)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConfigReportsAllProblemsAtOnce(t *testing.T) {
	_, err := New(Config{
		Management: "0.0.0.0:9002", Node: member.Node{Addr: "x"}, ProbeJitter: 2, ProbeParallel: -1, MaxPoints: -1, Scheme: "ftp",
		DiscoverTimeout: -1, DiscoverBackoffMax: time.Millisecond, Settings: Settings{RequiredContactPoints: -1, AnswerTTL: time.Second},
	})
	if err == nil {
		t.Fatal("got nil, want errors")
	}
	for _, field := range []string{
		"Node.ID", "Node.Addr", "Cluster", "Management", "Discovery", "ProbeJitter", "ProbeParallel", "MaxPoints", "Scheme", "DiscoverTimeout",
		"DiscoverBackoffMax", "Settings.RequiredContactPoints", "Settings.AnswerTTL",
	} {
		if !strings.Contains(err.Error(), "Config."+field+" ") {
			t.Errorf("%s is not named in: %v", field, err)
		}
	}
	if _, err := New(Config{Node: member.Node{ID: "a", Addr: "h:1"}, Management: "h:1", Cluster: "c"}); err == nil || !strings.Contains(err.Error(), "port of its own") {
		t.Errorf("the same address twice got %v, want an error", err)
	}
	slow := Config{MaxPoints: 100, ProbeParallel: 10}.WithDefaults()
	if err := slow.Validate(); err == nil || !strings.Contains(err.Error(), "takes up to 10s") {
		t.Errorf("a round longer than answers count got %v, want an error", err)
	}
}
