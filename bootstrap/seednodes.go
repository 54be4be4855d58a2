package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// SeedNodesPath is where a node's management server answers probes.
const SeedNodesPath = "/bootstrap/seed-nodes"

// maxAnswerBytes bounds an answer to a probe.
const maxAnswerBytes = 64 << 10

// SeedNodes is the answer to a probe.
type SeedNodes struct {
	Self Contact `json:"self"`
	// Cluster is the name of the cluster.
	Cluster string `json:"cluster"`
	// Generation is 0 while the node is in no cluster.
	Generation uint64 `json:"generation"`
	// SeedNodes is empty while the node is in no cluster, see [SeedsOf].
	SeedNodes []Seed `json:"seedNodes"`
}

// Contact is the node that answers.
type Contact struct {
	ID member.NodeID `json:"id"`
	// Addr is the host:port of its cluster listener.
	Addr string `json:"addr"`
	// Management is the host:port of its management server.
	Management string `json:"management"`
}

// SeedNodesHandler answers probes with what source returns. source is called
// for each request, by many goroutines at once.
func SeedNodesHandler(source func() SeedNodes) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are allowed here", http.StatusMethodNotAllowed)
			return
		}
		answer := source()
		if answer.SeedNodes == nil {
			answer.SeedNodes = []Seed{}
		}
		if len(answer.SeedNodes) > MaxSeeds {
			answer.SeedNodes = answer.SeedNodes[:MaxSeeds]
		}
		body, err := json.Marshal(answer)
		if err != nil { // cannot happen with these types; do not answer half
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client has gone when this fails
	})
}

// decodeSeedNodes reads an answer. Fields that it does not know are left alone,
// so that nodes of a newer release can say more.
func decodeSeedNodes(r io.Reader) (SeedNodes, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswerBytes+1))
	if err != nil {
		return SeedNodes{}, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxAnswerBytes {
		return SeedNodes{}, fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)
	}
	var answer SeedNodes
	if err := json.Unmarshal(body, &answer); err != nil {
		return SeedNodes{}, fmt.Errorf("the answer is not what %s should answer: %w", SeedNodesPath, err)
	}
	return answer, answer.validate()
}

func (s SeedNodes) validate() error {
	var errs []error
	bound := func(field, value string, most int) {
		if value == "" || len(value) > most {
			errs = append(errs, fmt.Errorf("%s has %d bytes, want 1..%d", field, len(value), most))
		}
	}
	bound("self.id", string(s.Self.ID), 64)
	bound("cluster", s.Cluster, 256)
	if err := checkAddr(s.Self.Management); err != nil {
		errs = append(errs, fmt.Errorf("self.management: %w", err))
	}
	if len(s.SeedNodes) > MaxSeeds {
		errs = append(errs, fmt.Errorf("seedNodes has %d entries, want at most %d", len(s.SeedNodes), MaxSeeds))
	}
	if len(s.SeedNodes) > 0 && s.Generation == 0 {
		errs = append(errs, errors.New("seedNodes without a generation"))
	}
	for i, seed := range s.SeedNodes {
		bound(fmt.Sprintf("seedNodes[%d].id", i), string(seed.ID), 64)
		if err := checkAddr(seed.Addr); err != nil {
			errs = append(errs, fmt.Errorf("seedNodes[%d].addr: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// checkAddr says what is wrong with a host:port that others are to reach.
func checkAddr(addr string) error {
	if len(addr) > 300 {
		return fmt.Errorf("%.40q... is longer than 300 bytes", addr)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q: the port is not a number in 1..65535", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%q: the host must be one that other nodes can reach", addr)
	}
	return nil
}
