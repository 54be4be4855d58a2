package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// ClusterSource is what the management server shows of the cluster.
type ClusterSource interface {
	// Self returns this node.
	Self() member.Node
	// View returns the last view; generation 0 while the node is in no cluster.
	// The server does not change it.
	View() member.View
}

// ShardSource is what the management server shows of the shard table.
type ShardSource interface {
	// ShardTypes returns the entity types of the table, sorted.
	ShardTypes() []string
	// ShardRows returns a copy of the rows of a type; ok is false when the table
	// does not have it.
	ShardRows(entityType string) (rows []placement.Shard, ok bool)
	// ShardsOwned counts the shards that each node owns, over all types.
	ShardsOwned() map[member.NodeID]int
}

// Config of the management server.
type Config struct {
	// Addr is the host:port to listen at. Required.
	Addr string
	// Health answers the health questions. Required.
	Health *Health
	// Cluster shows the members. Required.
	Cluster ClusterSource
	// Shards shows the shard table. Required.
	Shards ShardSource
	// SeedNodes answers the probes of starting nodes. Required.
	SeedNodes http.Handler
	// Routes are more handlers by pattern as chi knows them, for example "/metrics"
	// or "/dashboard/*". They get every method. A pattern of this server is an
	// error.
	Routes map[string]http.Handler
	// Server sets bounds and timeouts; its Name, Addr, Handler and Logger are not
	// used.
	Server ServerConfig
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

// own are the routes of the management server itself.
func own() []string {
	return []string{"/startup", "/alive", "/ready", "/cluster/members", "/cluster/shards", "/cluster/shards/{type}", "/bootstrap/seed-nodes"}
}

// Validate reports all problems of the configuration at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, text string) { errs = append(errs, fmt.Errorf("httpapi: Config.%s %s", field, text)) }
	if c.Health == nil {
		bad("Health", "is nil: use NewHealth")
	}
	if c.Cluster == nil {
		bad("Cluster", "is nil")
	}
	if c.Shards == nil {
		bad("Shards", "is nil")
	}
	if c.SeedNodes == nil {
		bad("SeedNodes", "is nil: use bootstrap.SeedNodesHandler")
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.Routes)) {
		switch {
		case !strings.HasPrefix(pattern, "/") || strings.ContainsAny(pattern, "{}") || strings.Contains(strings.TrimSuffix(pattern, "/*"), "*"):
			bad("Routes", fmt.Sprintf("has pattern %q: want a path that starts with / and may end with /*", pattern))
		case slices.Contains(own(), pattern) || strings.HasPrefix(pattern, "/cluster/shards/"):
			bad("Routes", fmt.Sprintf("has pattern %q, which belongs to the server itself", pattern))
		case c.Routes[pattern] == nil:
			bad("Routes", fmt.Sprintf("has no handler for pattern %q", pattern))
		}
	}
	return errors.Join(errs...)
}

// New validates the configuration and binds the port, see [Listen].
func New(ctx context.Context, c Config) (*Server, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	conf := c.Server
	conf.Name, conf.Addr, conf.Handler, conf.Logger = "management", c.Addr, c.routes(), c.Logger
	s, err := Listen(ctx, conf)
	if err != nil {
		return nil, err
	}
	s.health = c.Health
	return s, nil
}

// routes is the router of the management server.
func (c Config) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.GetHead)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		WriteProblem(w, Problem{Status: http.StatusNotFound, Code: "not-found", Detail: fmt.Sprintf("there is nothing at %.200q", r.URL.Path)})
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		WriteProblem(w, Problem{Status: http.StatusMethodNotAllowed, Code: "method-not-allowed", Detail: fmt.Sprintf("%.20s is not allowed here", r.Method)})
	})
	for _, kind := range []Kind{Startup, Alive, Ready} {
		r.Get("/"+string(kind), c.Health.handler(kind))
	}
	r.Get("/cluster/members", c.members)
	r.Get("/cluster/shards", c.shardTypes)
	r.Get("/cluster/shards/{type}", c.shards)
	r.Handle("/bootstrap/seed-nodes", c.SeedNodes)
	for pattern, h := range c.Routes {
		r.Handle(pattern, h)
	}
	return r
}

type memberJSON struct {
	ID         member.NodeID `json:"id"`
	Addr       string        `json:"addr"`
	Status     string        `json:"status"`
	Zone       string        `json:"zone"`
	Roles      []string      `json:"roles"`
	AppVersion string        `json:"appVersion"`
	JoinedAt   uint64        `json:"joinedAt"`
	Shards     int           `json:"shards"`
}

// members answers GET /cluster/members.
func (c Config) members(w http.ResponseWriter, _ *http.Request) {
	view, owned := c.Cluster.View(), c.Shards.ShardsOwned()
	out := struct {
		Generation uint64        `json:"generation"`
		Index      uint64        `json:"index"`
		Leader     member.NodeID `json:"leader"`
		Self       member.NodeID `json:"self"`
		Members    []memberJSON  `json:"members"`
	}{view.Generation, view.Index, view.Leader, c.Cluster.Self().ID, []memberJSON{}}
	for _, m := range view.Members {
		roles := m.Roles
		if roles == nil {
			roles = []string{}
		}
		out.Members = append(out.Members, memberJSON{m.ID, m.Addr, m.Status.String(), m.Zone, roles, m.AppVersion, m.JoinedAt, owned[m.ID]})
	}
	WriteJSON(w, http.StatusOK, out)
}

type nodeJSON struct {
	ID member.NodeID `json:"id"`
	// Addr is "" when the node is no member any more.
	Addr string `json:"addr"`
}

type stateCounts struct {
	Unassigned int `json:"unassigned"`
	Running    int `json:"running"`
	Moving     int `json:"moving"`
}

func (s *stateCounts) add(state placement.State) {
	switch state {
	case placement.Unassigned:
		s.Unassigned++
	case placement.Running:
		s.Running++
	case placement.Moving:
		s.Moving++
	}
}

// shardTypes answers GET /cluster/shards.
func (c Config) shardTypes(w http.ResponseWriter, _ *http.Request) {
	type typeJSON struct {
		Type   string      `json:"type"`
		Shards int         `json:"shards"`
		States stateCounts `json:"states"`
	}
	out := struct {
		Types []typeJSON `json:"types"`
	}{[]typeJSON{}}
	for _, name := range c.Shards.ShardTypes() {
		rows, ok := c.Shards.ShardRows(name)
		if !ok {
			continue // gone since
		}
		t := typeJSON{Type: name, Shards: len(rows)}
		for _, row := range rows {
			t.States.add(row.State)
		}
		out.Types = append(out.Types, t)
	}
	WriteJSON(w, http.StatusOK, out)
}

type shardJSON struct {
	Shard int       `json:"shard"`
	State string    `json:"state"`
	Owner *nodeJSON `json:"owner"`
	Epoch uint64    `json:"epoch"`
	To    *nodeJSON `json:"to"`
	Since uint64    `json:"since"`
}

type ownerJSON struct {
	nodeJSON

	Shards int `json:"shards"`
}

// shards answers GET /cluster/shards/{type}.
func (c Config) shards(w http.ResponseWriter, r *http.Request) {
	name := chi.URLParam(r, "type")
	if r.URL.RawPath != "" { // chi matched the escaped path then
		if unescaped, err := url.PathUnescape(name); err == nil {
			name = unescaped
		}
	}
	rows, ok := c.Shards.ShardRows(name)
	if !ok {
		WriteProblem(w, Problem{
			Status: http.StatusNotFound, Code: "entity-type-unknown",
			Detail: fmt.Sprintf("the table has no entity type %.200q; it has: %s", name, strings.Join(c.Shards.ShardTypes(), ", ")),
		})
		return
	}
	want := r.URL.Query().Get("state")
	states := []string{placement.Unassigned.String(), placement.Running.String(), placement.Moving.String()}
	if want != "" && !slices.Contains(states, want) {
		WriteProblem(w, Problem{
			Status: http.StatusBadRequest, Code: "state-unknown", Field: "state",
			Detail: fmt.Sprintf("there is no state %.100q: use one of %s", want, strings.Join(states, ", ")),
		})
		return
	}
	view := c.Cluster.View()
	node := func(id member.NodeID) *nodeJSON {
		if id == "" {
			return nil
		}
		m, _ := view.Find(id)
		return &nodeJSON{id, m.Addr}
	}
	out := struct {
		Type   string      `json:"type"`
		Shards int         `json:"shards"`
		States stateCounts `json:"states"`
		Owners []ownerJSON `json:"owners"`
		Rows   []shardJSON `json:"rows"`
	}{Type: name, Shards: len(rows), Owners: []ownerJSON{}, Rows: []shardJSON{}}
	owned := map[member.NodeID]int{}
	for i, row := range rows {
		out.States.add(row.State)
		if row.Owner != "" {
			owned[row.Owner]++
		}
		if want == "" || want == row.State.String() {
			out.Rows = append(out.Rows, shardJSON{i, row.State.String(), node(row.Owner), row.Epoch, node(row.To), row.Since})
		}
	}
	for id, n := range owned {
		out.Owners = append(out.Owners, ownerJSON{*node(id), n})
	}
	slices.SortFunc(out.Owners, func(a, b ownerJSON) int {
		if c := member.CompareAddr(a.Addr, b.Addr); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	WriteJSON(w, http.StatusOK, out)
}
