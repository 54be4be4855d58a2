package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/httpapi"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

type fakeCluster struct{ view member.View }

func (f *fakeCluster) Self() member.Node { return member.Node{ID: "a", Addr: "10.0.0.1:25520"} }
func (f *fakeCluster) View() member.View { return f.view }

type fakeShards struct{ table *placement.Table }

func (f *fakeShards) ShardTypes() []string { return f.table.Types() }

func (f *fakeShards) ShardRows(name string) ([]placement.Shard, bool) {
	rows := f.table.Shards(name)
	return append([]placement.Shard(nil), rows...), rows != nil
}

func (f *fakeShards) ShardsOwned() map[member.NodeID]int {
	out := map[member.NodeID]int{}
	for _, c := range f.table.Rows() {
		if c.Row.Owner != "" {
			out[c.Row.Owner]++
		}
	}
	return out
}

func management(t *testing.T, change func(*httpapi.Config)) (base string, health *httpapi.Health) {
	t.Helper()
	cluster := &fakeCluster{view: member.View{Generation: 3, Index: 77, Leader: "b", Members: []member.Member{
		{Node: member.Node{ID: "a", Addr: "10.0.0.1:25520"}, Status: member.Up, Zone: "eu-1a", Roles: []string{"bank"}, AppVersion: "1.2", JoinedAt: 5},
		{Node: member.Node{ID: "b", Addr: "10.0.0.2:25520"}, Status: member.Leaving, JoinedAt: 4},
	}}}
	row := func(name string, i int, s placement.Shard) placement.Change {
		return placement.Change{Key: placement.Key{Type: name, Shard: i}, Row: s}
	}
	table, err := placement.Load([]placement.Change{
		row("account", 0, placement.Shard{State: placement.Running, Owner: "a", Epoch: 10, Since: 10}),
		row("account", 1, placement.Shard{State: placement.Moving, Owner: "b", To: "a", Epoch: 11, Since: 12}),
		row("account", 2, placement.Shard{Epoch: 4, Since: 13}),
		row("account", 3, placement.Shard{State: placement.Running, Owner: "gone", Epoch: 6, Since: 6}),
		row("room/chat", 0, placement.Shard{State: placement.Running, Owner: "a", Epoch: 9, Since: 9}),
	})
	if err != nil {
		t.Fatal(err)
	}
	health = httpapi.NewHealth(httpapi.HealthConfig{})
	c := httpapi.Config{
		Addr: "127.0.0.1:0", Health: health, Cluster: cluster, Shards: &fakeShards{table},
		SeedNodes: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { httpapi.WriteJSON(w, 200, "seeds") }),
	}
	if change != nil {
		change(&c)
	}
	s, err := httpapi.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return "http://" + s.Addr(), health
}

func TestManagementRoutes(t *testing.T) {
	base, _ := management(t, func(c *httpapi.Config) {
		c.Routes = map[string]http.Handler{"/metrics": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { httpapi.WriteJSON(w, 200, "metrics") })}
	})
	members := `{"generation":3,"index":77,"leader":"b","self":"a","members":[
		{"id":"a","addr":"10.0.0.1:25520","status":"up","zone":"eu-1a","roles":["bank"],"appVersion":"1.2","joinedAt":5,"shards":2},
		{"id":"b","addr":"10.0.0.2:25520","status":"leaving","zone":"","roles":[],"appVersion":"","joinedAt":4,"shards":1}]}`
	a, b, gone := `{"id":"a","addr":"10.0.0.1:25520"}`, `{"id":"b","addr":"10.0.0.2:25520"}`, `{"id":"gone","addr":""}`
	row0 := `{"shard":0,"state":"running","owner":` + a + `,"epoch":10,"to":null,"since":10}`
	row1 := `{"shard":1,"state":"moving","owner":` + b + `,"epoch":11,"to":` + a + `,"since":12}`
	row2 := `{"shard":2,"state":"unassigned","owner":null,"epoch":4,"to":null,"since":13}`
	row3 := `{"shard":3,"state":"running","owner":` + gone + `,"epoch":6,"to":null,"since":6}`
	account := func(rows ...string) string {
		return `{"type":"account","shards":4,"states":{"unassigned":1,"running":2,"moving":1},"owners":[
			{"id":"a","addr":"10.0.0.1:25520","shards":1},{"id":"b","addr":"10.0.0.2:25520","shards":1},{"id":"gone","addr":"","shards":1}],
			"rows":[` + strings.Join(rows, ",") + `]}`
	}
	tests := []struct {
		path   string
		status int
		want   string // JSON, or a part of it
	}{
		{"/startup", 200, `{"status":"ok","reasons":[]}`},
		{"/alive", 200, `{"status":"ok","reasons":[]}`},
		{"/ready", 200, `{"status":"ok","reasons":[]}`},
		{"/cluster/members", 200, members},
		{"/cluster/shards", 200, `{"types":[{"type":"account","shards":4,"states":{"unassigned":1,"running":2,"moving":1}},{"type":"room/chat","shards":1,"states":{"unassigned":0,"running":1,"moving":0}}]}`},
		{"/cluster/shards/account", 200, account(row0, row1, row2, row3)},
		{"/cluster/shards/account?state=running", 200, account(row0, row3)},
		{"/cluster/shards/account?state=moving", 200, account(row1)},
		{"/cluster/shards/room%2Fchat?state=moving", 200, `{"type":"room/chat","shards":1,"states":{"unassigned":0,"running":1,"moving":0},"owners":[{"id":"a","addr":"10.0.0.1:25520","shards":1}],"rows":[]}`},
		{"/cluster/shards/account?state=lost", 400, `"code":"state-unknown","field":"state"`},
		{"/cluster/shards/acount", 404, `no entity type \"acount\"; it has: account, room/chat`},
		{"/bootstrap/seed-nodes", 200, `"seeds"`},
		{"/metrics", 200, `"metrics"`},
		{"/nothing", 404, `"code":"not-found"`},
		{"/cluster/shards/a/b", 404, `"code":"not-found"`},
	}
	c := client(t)
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			status, body, header := get(t, c, base+tt.path)
			if status != tt.status {
				t.Fatalf("got %d %s, want %d", status, body, tt.status)
			}
			kind, want := "application/json", compact(t, tt.want)
			if status >= 400 {
				kind = "application/problem+json"
				if !strings.Contains(body, want) {
					t.Errorf("got %s, want %s in it", body, want)
				}
			} else if compact(t, body) != want {
				t.Errorf("got %s, want %s", body, want)
			}
			if got := header.Get("Content-Type"); got != kind || header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers got %v, want %s that is not stored", header, kind)
			}
		})
	}
}

func compact(t *testing.T, s string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(s)); err != nil {
		return s // part of a document
	}
	return out.String()
}

func TestManagementIsReadOnly(t *testing.T) {
	base, _ := management(t, nil)
	c := client(t)
	for method, want := range map[string]int{http.MethodPost: 405, http.MethodDelete: 405, http.MethodHead: 200} {
		req, err := http.NewRequestWithContext(t.Context(), method, base+"/cluster/members", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s got %d, want %d", method, resp.StatusCode, want)
		}
	}
}

func TestUnreadyIs503WithReasons(t *testing.T) {
	base, health := management(t, nil)
	c := client(t)
	gate := health.Gate("cluster", "not joined")
	add(t, health, httpapi.Ready, "store", func(context.Context) error { return errors.New("store is down") })
	status, body, header := get(t, c, base+"/ready")
	var r httpapi.Report
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	if status != 503 || said(r) != "unavailable cluster=not joined store=store is down" || header.Get("Retry-After") != "1" || r.Reasons[0].Since.IsZero() {
		t.Errorf("got %d %s, want 503 with both reasons", status, body)
	}
	if status, body, _ := get(t, c, base+"/startup"); status != 503 {
		t.Errorf("/startup got %d %s, want 503", status, body)
	}
	gate.Open()
	if status, body, _ := get(t, c, base+"/startup"); status != 200 {
		t.Errorf("/startup got %d %s, want 200", status, body)
	}
	if status, body, _ := get(t, c, base+"/alive"); status != 200 {
		t.Errorf("/alive got %d %s, want 200", status, body)
	}
}

func TestManagementConfigReportsAllProblemsAtOnce(t *testing.T) {
	ok := http.NotFoundHandler()
	_, err := httpapi.New(t.Context(), httpapi.Config{Addr: "127.0.0.1:0", Routes: map[string]http.Handler{
		"metrics": ok, "/ready": ok, "/a/*/b": ok, "/{x}": ok, "/nil": nil, "/cluster/shards/*": ok, "/fine/*": ok,
	}})
	if err == nil {
		t.Fatal("got nil, want errors")
	}
	for _, want := range []string{"Health", "Cluster", "Shards", "SeedNodes", `"metrics"`, `"/ready"`, `"/a/*/b"`, `"/{x}"`, `"/nil"`, `"/cluster/shards/*"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "/fine") {
		t.Errorf("a good pattern is named in: %v", err)
	}
}
