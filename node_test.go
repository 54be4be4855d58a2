package holdfast_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/bootstrap/discovery/static"
	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

// The bank of the tests: an account is a balance.
type (
	account   struct{ Balance int64 }
	deposited struct{ Amount int64 }
	deposit   struct{ Amount int64 }
	empty     struct{}
)

var errAmount = sharding.Reject("amount-not-positive")

func (a account) Apply(e deposited) account { return account{a.Balance + e.Amount} }

func (a account) Deposit(d deposit) ([]deposited, error) {
	if d.Amount <= 0 {
		return nil, errAmount
	}
	return []deposited{{d.Amount}}, nil
}

func (a account) Statement() int64 { return a.Balance }

func (a account) Read(empty) (int64, error) { return a.Balance, nil }

// bank is the entity type with its methods, made anew for each test.
type bank struct {
	accounts *persistence.Type[account, deposited]
	deposit  sharding.Method[deposit, int64]
	balance  sharding.Method[empty, int64]
}

func newBank() bank {
	var b bank
	b.accounts = persistence.NewType("account", account.Apply)
	b.deposit = persistence.Handle(b.accounts, "deposit", account.Deposit, account.Statement)
	b.balance = persistence.Query(b.accounts, "balance", account.Read)
	return b
}

func testLogger(name string) *slog.Logger {
	if os.Getenv("HOLDFAST_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.String("name", name))
	}
	return slog.New(slog.DiscardHandler)
}

// freePorts reserves ports by binding and releasing them.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		var l net.Listener
		l, ports[i] = listen(t)
		defer l.Close() //nolint:errcheck // released for the node
	}
	return ports
}

func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return l, int(addr.Port())
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// startCluster starts n nodes on one store in this process.
func startCluster(t *testing.T, n int, b bank, store *memory.Store) []*holdfast.Node {
	t.Helper()
	mgmt := freePorts(t, n)
	targets := make([]string, n)
	for i, p := range mgmt {
		targets[i] = fmt.Sprintf("127.0.0.1:%d", p)
	}
	nodes := make([]*holdfast.Node, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range nodes {
		d, err := static.Parse(targets...)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			nodes[i], errs[i] = holdfast.Start(within(t, 60*time.Second), holdfast.Config{
				Cluster: "test", Entities: []sharding.Entity{b.accounts}, Journal: store,
				Host: "127.0.0.1", ClusterPort: -1, ManagementPort: mgmt[i], Discovery: d,
				Bootstrap:     bootstrap.Settings{RequiredContactPoints: n, StableMargin: 100 * time.Millisecond},
				ProbeInterval: 50 * time.Millisecond, Logger: testLogger(fmt.Sprintf("n%d", i)),
				HTTP:      &holdfast.HTTP{Addr: "127.0.0.1:0", Handler: func(*holdfast.Node) http.Handler { return http.NotFoundHandler() }},
				DrainIdle: 10 * time.Millisecond,
			})
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("start node %d: %v", i, err)
		}
		t.Cleanup(func() { _ = nodes[i].Shutdown(context.Background()) })
	}
	return nodes
}

func TestThreeNodesServeAnAccountFromAnyOfThem(t *testing.T) {
	b := newBank()
	nodes := startCluster(t, 3, b, memory.New())
	for i := range 90 {
		ctx := sharding.CommandID(within(t, 20*time.Second), fmt.Sprintf("key-%d", i))
		if _, err := b.deposit.Ask(ctx, nodes[i%3], fmt.Sprintf("acc-%d", i%30), deposit{10}); err != nil {
			t.Fatalf("deposit %d: %v", i, err)
		}
	}
	for i := range 30 {
		got, err := b.balance.Ask(within(t, 20*time.Second), nodes[(i+1)%3], fmt.Sprintf("acc-%d", i), empty{})
		if err != nil || got != 30 {
			t.Errorf("balance of acc-%d: got %d, %v, want 30", i, got, err)
		}
	}
	if _, err := b.deposit.Ask(within(t, 10*time.Second), nodes[0], "acc-1", deposit{-1}); !errors.Is(err, errAmount) {
		t.Errorf("negative deposit: got %v, want %v", err, errAmount)
	}
}

func TestRollingShutdownLosesNoCommand(t *testing.T) {
	b := newBank()
	store := memory.New()
	nodes := startCluster(t, 3, b, store)
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mu sync.Mutex
	acked := map[string]int64{}
	stopping := make([]bool, len(nodes))
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("acc-%d", (w*7+i)%40)
				mu.Lock()
				via := nodes[i%3]
				for k := range nodes {
					if stopping[k] && nodes[k] == via {
						via = nodes[2]
					}
				}
				mu.Unlock()
				actx, cancel := context.WithTimeout(sharding.CommandID(context.WithoutCancel(ctx), fmt.Sprintf("k-%d-%d", w, i)), 20*time.Second)
				_, err := b.deposit.Ask(actx, via, id, deposit{1})
				cancel()
				if err != nil {
					t.Errorf("deposit: %v", err)
					return
				}
				mu.Lock()
				acked[id]++
				mu.Unlock()
			}
		})
	}
	for k := range 2 {
		mu.Lock()
		stopping[k] = true
		mu.Unlock()
		if err := nodes[k].Shutdown(within(t, 60*time.Second)); err != nil {
			t.Errorf("shutdown of node %d: %v", k, err)
		}
	}
	stop()
	wg.Wait()
	for id, want := range acked {
		got, err := b.balance.Ask(within(t, 20*time.Second), nodes[2], id, empty{})
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", id, got, err, want)
		}
	}
}

func TestHealthFollowsTheLifeOfANode(t *testing.T) {
	b := newBank()
	n := startCluster(t, 1, b, memory.New())[0]
	get := func(path string) (int, map[string]any) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.ManagementAddr()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // read only
		var body map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return resp.StatusCode, body
	}
	for _, path := range []string{"/startup", "/alive", "/ready", "/cluster/members", "/cluster/shards/account"} {
		if code, body := get(path); code != 200 {
			t.Errorf("%s: got %d %v, want 200", path, code, body)
		}
	}
	if code, _ := get("/cluster/shards/nothing"); code != 404 {
		t.Errorf("unknown type: got %d, want 404", code)
	}
	if err := n.Shutdown(within(t, 30*time.Second)); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if got := n.ExitCode(); got != 0 {
		t.Errorf("exit code: got %d, want 0", got)
	}
}

func TestBadConfigurationIsOneErrorThatNamesEveryField(t *testing.T) {
	b := newBank()
	_, err := holdfast.Start(within(t, 5*time.Second), holdfast.Config{
		Host: "not-an-address", ClusterPort: 99999, Entities: []sharding.Entity{b.accounts, b.accounts, nil},
		HTTP: &holdfast.HTTP{Addr: "nonsense"}, DrainIdle: -1,
	})
	var se *holdfast.StartError
	if !errors.As(err, &se) || se.Step != "configuration" {
		t.Fatalf("got %v, want a *StartError of the configuration", err)
	}
	for _, want := range []string{"Cluster is empty", "Host", "ClusterPort is 99999", "there twice", "Entities[2]", "HTTP.Addr", "HTTP.Handler", "DrainIdle"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %q: %v", want, err)
		}
	}
}

func TestADurableEntityNeedsAJournal(t *testing.T) {
	_, err := holdfast.Start(within(t, 5*time.Second), holdfast.Config{
		Cluster: "test", Host: "127.0.0.1", ClusterPort: -1, ManagementPort: -1, Entities: []sharding.Entity{newBank().accounts},
	})
	if !errors.Is(err, holdfast.ErrNoJournal) {
		t.Errorf("got %v, want ErrNoJournal", err)
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	l, taken := listen(t)
	defer l.Close() //nolint:errcheck // test
	for _, tt := range []struct {
		step string
		cfg  holdfast.Config
	}{
		{"cluster port", holdfast.Config{ClusterPort: taken, ManagementPort: -1}},
		{"management port", holdfast.Config{ClusterPort: -1, ManagementPort: taken}},
		{"application port", holdfast.Config{ClusterPort: -1, ManagementPort: -1, HTTP: &holdfast.HTTP{
			Addr: fmt.Sprintf("127.0.0.1:%d", taken), Handler: func(*holdfast.Node) http.Handler { return http.NotFoundHandler() },
		}}},
	} {
		tt.cfg.Cluster, tt.cfg.Host, tt.cfg.Logger = "test", "127.0.0.1", testLogger(tt.step)
		_, err := holdfast.Start(within(t, 30*time.Second), tt.cfg)
		var se *holdfast.StartError
		if !errors.As(err, &se) || se.Step != tt.step || !strings.Contains(err.Error(), fmt.Sprint(taken)) {
			t.Errorf("%s: got %v, want a *StartError of that step that names port %d", tt.step, err, taken)
		}
		if se != nil && se.Reason.ExitCode() == 0 {
			t.Errorf("%s: got exit code 0", tt.step)
		}
	}
}
