package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

const (
	exitFailure = 1
	exitUsage   = 2

	// sameSignal is how close to the first a second signal is no second one.
	sameSignal = 300 * time.Millisecond
)

type cli struct {
	Dev         devCmd         `cmd:"" help:"Run several nodes and a front door on this machine."`
	Serve       serveCmd       `cmd:"" help:"Run one node."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask a node whether it is alive; exits with 0 or 1."`
}

// environment is what commands get from outside.
type environment struct {
	// ctx ends when the program is told to stop, and kill closes when it is
	// told so again.
	ctx            context.Context //nolint:containedctx // kong passes bindings, not arguments
	kill           <-chan struct{}
	stdout, stderr io.Writer
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{text: fmt.Sprintf(format, args...)} }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, kill, release := signals()
	defer release()
	err := execute(&environment{ctx: ctx, kill: kill, stdout: stdout, stderr: stderr}, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "demo-bank: %v\n", err) //nolint:errcheck // there is nobody to tell
	if own, ok := errors.AsType[*codeError](err); ok {
		return own.code
	}
	_, usage := errors.AsType[*usageError](err)
	_, parse := errors.AsType[*kong.ParseError](err)
	if usage || parse {
		return exitUsage
	}
	return exitFailure
}

// execute parses the command line and runs the command.
func execute(e *environment, args []string) error {
	helped := false
	parser, err := newParser(&cli{}, e, func(int) { helped = true })
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	switch {
	case helped:
		return nil
	case err != nil:
		return fmt.Errorf("%w (see 'demo-bank --help')", err)
	}
	return command.Run(e)
}

// newParser returns a parser into c that calls exit after it has shown help.
func newParser(c *cli, e *environment, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("demo-bank"),
		kong.Description("A bank on Holdfast. 'demo-bank dev' starts three nodes on this machine."),
		kong.Writers(e.stdout, e.stderr),
		kong.Exit(exit),
	)
}

// signals returns a context that ends at the first SIGINT or SIGTERM, and a
// channel that closes at the second. One that comes right after the first is the
// same one: a program that runs another may signal it and its process group.
func signals() (ctx context.Context, kill <-chan struct{}, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan struct{})
	done := make(chan struct{})
	received := make(chan os.Signal, 2)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	var wg sync.WaitGroup
	wg.Go(func() {
		var first time.Time
		for {
			select {
			case <-received:
			case <-done:
				return
			}
			switch {
			case first.IsZero():
				first = time.Now()
				cancel()
			case time.Since(first) > sameSignal:
				close(second)
				return
			}
		}
	})
	return ctx, second, func() {
		signal.Stop(received)
		close(done)
		wg.Wait()
		cancel()
	}
}
