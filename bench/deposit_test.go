package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/sqlite"
	"github.com/holdfast-go/holdfast/sharding"
)

const (
	// clients send deposits at once, as many write to the store beside them.
	clients  = 64
	accounts = 1000
)

// client is one keep-alive connection. It is simpler than net/http's, whose
// cost is no part of what is measured but falls on the same processors.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialHTTP(tb testing.TB, addr string) *client {
	tb.Helper()
	var d net.Dialer
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &client{conn: conn, in: bufio.NewReader(conn)}
}

// deposit puts 1 into an account and waits for the answer.
func (c *client) deposit(id, key string) error {
	const body = `{"amount":1}`
	_, err := fmt.Fprintf(c.conn, "POST /accounts/%s/deposit HTTP/1.1\r\nHost: bank\r\nX-Tenant-Id: tenant-a\r\nContent-Type: application/json\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s", id, key, len(body), body)
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("deposit to %s: %s: %s", id, resp.Status, text)
	}
	return err
}

// storeSide appends to a store by itself, each writer to streams of its own.
func storeSide(tb testing.TB, path string) side {
	tb.Helper()
	ctx := context.Background()
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	tokens := make([]journal.Token, sharding.DefaultShards)
	for i := range tokens {
		if tokens[i], err = store.Claim(ctx, journal.Shard{Type: "account", Index: i}, 1, 1, "bench"); err != nil {
			tb.Fatal(err)
		}
	}
	var key atomic.Int64
	last := make([]uint64, accounts)
	return side{"store", func(d time.Duration) float64 {
		return inFlight(tb, clients, d, func(writer, n int) error {
			k := (writer + n*clients) % (accounts / clients * clients)
			a, err := depositAppend(fmt.Sprintf("acc-%d", k), tokens, last[k])
			if err != nil {
				return err
			}
			a.Command = &journal.Command{ID: fmt.Sprintf("key-%d", key.Add(1)), Reply: []byte("\x001")}
			r := store.Append(ctx, []journal.Append{a})[0]
			last[k] = r.Seq
			return r.Err
		})
	}}
}

// durableDeposit measures deposits over HTTP at the demo bank, three processes
// that share one file, beside what one process can append to another by itself.
func durableDeposit(tb testing.TB, p pace) outcome {
	tb.Helper()
	dir := tb.TempDir()
	apis := demoBank(tb, 3, filepath.Join(dir, "bank.db"))
	conns := make([]*client, clients)
	for i := range conns {
		conns[i] = dialHTTP(tb, apis[i%len(apis)])
	}
	var key atomic.Int64
	return compare(tb, p, storeSide(tb, filepath.Join(dir, "store.db")),
		side{"deposits over HTTP, 3 nodes", func(d time.Duration) float64 {
			return inFlight(tb, clients, d, func(c, n int) error {
				return conns[c].deposit(fmt.Sprintf("acc-%d", (c*31+n*17)%accounts), fmt.Sprintf("key-%d", key.Add(1)))
			})
		}})
}

// BenchmarkDurableDeposit has no target but to be looked at.
func BenchmarkDurableDeposit(b *testing.B) {
	for b.Loop() {
		o := durableDeposit(b, pace{rounds: 7, turn: time.Second})
		b.ReportMetric(o.rate[0], "store-appends/s")
		b.ReportMetric(o.rate[1], "deposits/s")
		b.ReportMetric(o.ratio[1], "ratio")
	}
	quiet(b)
}
