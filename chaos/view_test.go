//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// members is what a node says at /cluster/members.
type members struct {
	Leader  string `json:"leader"`
	Self    string `json:"self"`
	Members []struct {
		ID     string `json:"id"`
		Addr   string `json:"addr"`
		Status string `json:"status"`
	} `json:"members"`
}

// shards is what a node says at /cluster/shards/account.
type shards struct {
	Rows []struct {
		State string `json:"state"`
		Owner *struct {
			Addr string `json:"addr"`
		} `json:"owner"`
	} `json:"rows"`
}

// managed asks the management of nodes, on a new connection each time.
type managed struct {
	ports  ports
	client http.Client
}

func newManaged(p ports) *managed {
	return &managed{p, http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// get asks node i and decodes the answer into v.
func (m *managed) get(ctx context.Context, i int, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.ports.management(i)+path, nil)
	if err != nil {
		return err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing depends on it
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("node %d answered %s with %s", i, path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// leader returns the number of the node that leads, as node i knows it.
func (m *managed) leader(ctx context.Context, i int) (int, error) {
	var got members
	if err := m.get(ctx, i, "/cluster/members", &got); err != nil {
		return 0, err
	}
	for _, member := range got.Members {
		for n := 1; n <= numNodes; n++ {
			if member.ID == got.Leader && member.Addr == m.ports.cluster(n) {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("node %d knows no leader", i)
}

// owners returns the node that runs each shard, as node i knows it.
func (m *managed) owners(ctx context.Context, i int) ([]int, error) {
	var got shards
	if err := m.get(ctx, i, "/cluster/shards/account", &got); err != nil {
		return nil, err
	}
	nodes := map[string]int{}
	for n := 1; n <= numNodes; n++ {
		nodes[m.ports.cluster(n)] = n
	}
	owners := make([]int, len(got.Rows))
	for shard, row := range got.Rows {
		if row.State != "running" || row.Owner == nil || nodes[row.Owner.Addr] == 0 {
			return nil, fmt.Errorf("shard %d is %s and not on one of the nodes", shard, row.State)
		}
		owners[shard] = nodes[row.Owner.Addr]
	}
	return owners, nil
}

// settled returns nil when every node is a ready member, knows the others, and
// votes, and the shards are spread evenly: the loss of any one node is covered.
func (m *managed) settled(ctx context.Context, b *bank) error {
	for i := 1; i <= numNodes; i++ {
		if b.pid(i) == 0 || !b.doorSees(i) {
			return fmt.Errorf("node %d does not run, or the front door does not see it", i)
		}
		if err := m.get(ctx, i, "/ready", new(any)); err != nil {
			return err
		}
		var got members
		if err := m.get(ctx, i, "/cluster/members", &got); err != nil {
			return err
		}
		if len(got.Members) != numNodes || got.Leader == "" {
			return fmt.Errorf("node %d knows %d members and leader %q", i, len(got.Members), got.Leader)
		}
		for _, member := range got.Members {
			if member.Status != "up" {
				return fmt.Errorf("node %d sees %s as %s", i, member.Addr, member.Status)
			}
			if !b.votes(member.ID) {
				return fmt.Errorf("%s has no vote yet", member.Addr)
			}
		}
		owners, err := m.owners(ctx, i)
		if err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		var count [numNodes]int
		for _, n := range owners {
			count[n-1]++
		}
		for _, n := range count {
			if n < len(owners)/numNodes || n > len(owners)/numNodes+1 {
				return fmt.Errorf("node %d sees the nodes with %v shards", i, count)
			}
		}
	}
	return nil
}

// replaced returns nil when node i is another process than pid, and all is settled.
func (m *managed) replaced(ctx context.Context, b *bank, i, pid int) error {
	if now := b.pid(i); now == 0 || now == pid {
		return fmt.Errorf("node %d is not replaced yet", i)
	}
	select {
	case <-b.done:
		return errors.New("dev has ended")
	default:
	}
	return m.settled(ctx, b)
}
