package journaltest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// crashEnv tells a process of the test binary that it is a child of Crash, and
// where the data is.
const crashEnv = "HOLDFAST_JOURNALTEST_CRASH"

const (
	crashShards    = 6
	crashProcesses = 3
	crashRounds    = 12
	// childLife ends a child whose parent was killed in a way that left its
	// standard input open.
	childLife = 2 * time.Minute
)

// Crash starts the calling test again in several processes, which append to
// one store and take shards from each other, and kills them (SIGKILL) at random
// moments. What a process printed as acknowledged must be there afterwards, at
// the same place, with its command record; no stream may have a gap, and the
// tokens along it must not fall.
//
// It must be the only thing the calling test does. open opens the store for a
// location: a directory that Crash makes, which the store may also take as a
// name for a fresh schema in a server.
func Crash(t *testing.T, open func(location string) (journal.Journal, error)) {
	t.Helper()
	if location := os.Getenv(crashEnv); location != "" {
		child(t, func() (journal.Journal, error) { return open(location) })
		return
	}
	location := t.TempDir()
	p := &crashParent{acks: map[string]map[uint64]string{}}
	for n := range crashProcesses {
		p.start(t, n, location)
	}
	for round := range crashRounds {
		n := round % crashProcesses
		p.awaitAcks(t, n, 5+rand.IntN(60))
		p.kill(n)
		p.start(t, n, location)
	}
	for n := range crashProcesses {
		p.awaitAcks(t, n, 20)
	}
	for n := range crashProcesses {
		p.kill(n)
	}
	j, err := open(location)
	if err != nil {
		t.Fatalf("open after the last kill: %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	p.verify(t, j)
}

type crashParent struct {
	mu       sync.Mutex
	acks     map[string]map[uint64]string // stream -> seq -> text
	children [crashProcesses]*crashChild
	total    int
}

type crashChild struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *strings.Builder
	acked  chan struct{} // one value per ack; closed at the end of its output
}

func (p *crashParent) start(t *testing.T, n int, location string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v")
	cmd.Env = append(os.Environ(), crashEnv+"="+location)
	stderr := &strings.Builder{}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &crashChild{cmd: cmd, stdin: stdin, stderr: stderr, acked: make(chan struct{}, 1<<16)}
	p.children[n] = c
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() {
		defer close(c.acked)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			if len(f) != 4 || f[0] != "ack" {
				if strings.Contains(lines.Text(), "crash child:") {
					t.Errorf("child %d: %s", n, lines.Text())
				}
				continue
			}
			seq, err := strconv.ParseUint(f[2], 10, 64)
			if err != nil {
				t.Errorf("child %d: %q", n, lines.Text())
				continue
			}
			p.record(t, f[1], seq, f[3])
			select {
			case c.acked <- struct{}{}:
			default:
			}
		}
	}()
}

func (p *crashParent) record(t *testing.T, id string, seq uint64, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acks[id] == nil {
		p.acks[id] = map[uint64]string{}
	}
	if other, ok := p.acks[id][seq]; ok {
		t.Errorf("stream %s: place %d acknowledged to %s and %s", id, seq, other, text)
	}
	p.acks[id][seq] = text
	p.total++
}

func (p *crashParent) awaitAcks(t *testing.T, n, count int) {
	t.Helper()
	c := p.children[n]
	timeout := time.NewTimer(childLife)
	defer timeout.Stop()
	for range count {
		select {
		case _, ok := <-c.acked:
			if !ok {
				_ = c.cmd.Wait()
				t.Fatalf("child %d ended by itself: %v\n%s", n, c.cmd.ProcessState, c.stderr)
			}
		case <-timeout.C:
			t.Fatalf("child %d: no acknowledgement for %v", n, childLife)
		}
	}
}

// kill ends a child and reads what it had still printed.
func (p *crashParent) kill(n int) {
	c := p.children[n]
	_ = c.cmd.Process.Kill()
	for range c.acked { // until its output ends
	}
	_ = c.cmd.Wait() // "signal: killed"
	_ = c.stdin.Close()
}

func (p *crashParent) verify(t *testing.T, j journal.Journal) {
	t.Helper()
	kept := 0
	for n := range crashShards {
		st := crashStream(n)
		var last journal.Recorded
		seen := map[uint64]string{}
		for more := true; more; {
			page, err := j.Read(t.Context(), st, last.Seq, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Events {
				if r.Seq != last.Seq+1 {
					t.Fatalf("stream %s: seq %d after %d", st.ID, r.Seq, last.Seq)
				}
				if r.Token.Compare(last.Token) < 0 {
					t.Fatalf("stream %s: token %+v at %d after %+v", st.ID, r.Token, r.Seq, last.Token)
				}
				last = r
				seen[r.Seq] = string(r.Payload)
			}
			more = page.More
		}
		for seq, text := range p.acks[st.ID] {
			if seen[seq] != text {
				t.Errorf("stream %s: %q was acknowledged at %d, the journal has %q", st.ID, text, seq, seen[seq])
			}
			cmd, ok, err := j.Command(t.Context(), st, text)
			if err != nil || !ok || cmd.Seq != seq {
				t.Errorf("stream %s: record of command %s: got seq %d %v %v, want %d", st.ID, text, cmd.Seq, ok, err, seq)
			}
		}
		kept += len(seen)
	}
	t.Logf("%d kills, %d appends acknowledged, %d in the journal", crashRounds+crashProcesses, p.total, kept)
	if p.total == 0 {
		t.Error("nothing was acknowledged")
	}
}

func crashStream(n int) journal.Stream {
	return journal.Stream{Shard: journal.Shard{Type: "crash", Index: n}, ID: fmt.Sprint("stream-", n)}
}

// child appends to every shard until it is killed, or its parent is gone.
func child(t *testing.T, open func() (journal.Journal, error)) {
	ctx, cancel := context.WithTimeout(t.Context(), childLife)
	defer cancel()
	j, err := open()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stdout, "crash child: open:", err)
		t.FailNow()
	}
	defer func() { _ = j.Close() }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		cancel()
	}()
	var wg sync.WaitGroup
	for n := range crashShards {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := crashOwner(ctx, j, n); err != nil && ctx.Err() == nil {
					_, _ = fmt.Fprintln(os.Stdout, "crash child:", err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
}

// crashOwner takes a shard, whoever has it, and appends until it is fenced or
// has had its turn.
func crashOwner(ctx context.Context, j journal.Journal, n int) error {
	st := crashStream(n)
	owner := strconv.Itoa(os.Getpid())
	tok, err := j.Claim(ctx, st.Shard, 1, 1, owner)
	var fenced *journal.FencedError
	if errors.As(err, &fenced) {
		tok, err = j.Claim(ctx, st.Shard, 1, fenced.Current.Epoch+1, owner)
	}
	if errors.As(err, &fenced) {
		return nil // another was faster
	}
	if err != nil {
		return err
	}
	last := uint64(0)
	for more := true; more; {
		page, err := j.Read(ctx, st, last, 0)
		if err != nil {
			return err
		}
		last += uint64(len(page.Events))
		more = page.More
	}
	for range 10 + rand.IntN(40) {
		text := fmt.Sprintf("%s-%d-%d-%d", owner, n, tok.Epoch, last+1)
		_, err := one(ctx, j, journal.Append{
			Stream: st, Token: tok, Expected: last, Time: time.Now(),
			Events:  []journal.Event{{Type: "noted", Payload: []byte(text)}},
			Command: &journal.Command{ID: text, Reply: []byte("ok")},
		})
		if errors.As(err, &fenced) {
			return nil
		}
		if err != nil {
			return err
		}
		last++
		// One write, so that a kill cannot leave half a line.
		if _, err := fmt.Fprintf(os.Stdout, "ack %s %d %s\n", st.ID, last, text); err != nil {
			return err
		}
	}
	return nil
}
