package actor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	proto "github.com/asynkron/protoactor-go/actor"
)

// System is a tree of actors that start and stop together.
type System struct {
	proto  *proto.ActorSystem
	logger *slog.Logger
	events Events

	// makers lend a protoactor Props to a spawn, see maker.
	makers sync.Pool
	// bells wake askers, see bell.
	bells sync.Pool
	// stop is the message that makes protoactor forget an actor.
	stop *proto.Stop

	crew crew

	deadLetters atomic.Uint64
	actors      atomic.Int64

	// tree guards root and all links between nodes.
	tree    sync.Mutex
	root    node
	closing bool
	empty   chan struct{} // closed when closing and no actor is left
}

// NewSystem makes an empty system. It starts no goroutine; about 4 MB are
// protoactor's sharded process table.
func NewSystem(cfg Config) (*System, error) {
	cfg = cfg.withDefaults()
	s := &System{
		logger: cfg.Logger,
		events: cfg.Events,
		stop:   &proto.Stop{},
		empty:  make(chan struct{}),
	}
	quiet := slog.New(warnHandler{cfg.Logger.Handler()})
	// No metrics provider: the one of protoactor would serve its own HTTP port.
	s.proto = proto.NewActorSystem(proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger { return quiet }))
	return s, nil
}

// DeadLetters is how many queued messages were never handled because their actor
// ended first.
func (s *System) DeadLetters() uint64 { return s.deadLetters.Load() }

// Actors is how many actors have not ended.
func (s *System) Actors() int { return int(s.actors.Load()) }

// Shutdown stops every actor after its current message, children before their
// parent and siblings side by side, and returns after the last has ended. When
// ctx ends first it says how many are left; they go on ending, and Shutdown may
// be called again to wait for them.
func (s *System) Shutdown(ctx context.Context) error {
	s.tree.Lock()
	if !s.closing {
		s.closing = true
		if s.root.first == nil {
			s.closed()
		}
	}
	s.tree.Unlock()
	s.stopChildren(&s.root)
	select {
	case <-s.empty:
		return nil
	default:
	}
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("actor: shutdown left %d actors running: %w", s.Actors(), context.Cause(ctx))
	}
}

// closed is called once, under tree, when nothing is left and nothing can come.
func (s *System) closed() {
	s.crew.close()
	s.proto.Shutdown()
	close(s.empty)
}

// maker is a protoactor Props whose producers hand out the cell of the spawn it
// is lent to. The actor keeps a pointer to its Props, so it would cost each actor
// some 300 bytes to have its own; it is never asked to produce again, as restarts
// are made by the cell.
type maker struct {
	props *proto.Props
	cell  interface {
		proto.Actor
		proto.Mailbox
	}
}

func newMaker() *maker {
	mk := &maker{}
	mk.props = proto.PropsFromProducer(
		func() proto.Actor { return mk.cell },
		proto.WithMailbox(func() proto.Mailbox { return mk.cell }),
	)
	return mk
}

// Spawn makes an actor. It returns ErrNameTaken, ErrShutdown, what Props.New
// panicked with, or what Props.Validate finds. Started runs after Spawn returned,
// or while it does.
func Spawn[M any](s *System, p Props[M]) (Ref[M], error) { return spawn(s, &s.root, p.Name, p) }

// SpawnChild makes an actor that ends before its parent does: when the parent
// stops or restarts. Errors are those of Spawn.
func SpawnChild[M, C any](ctx *Context[M], p Props[C]) (Ref[C], error) {
	c := ctx.cell()
	name := p.Name
	if name != "" {
		name = c.name() + "/" + name
	}
	return spawn(c.system, &c.node, name, p)
}

func spawn[M any](s *System, parent *node, name string, p Props[M]) (Ref[M], error) {
	if err := p.Validate(); err != nil {
		return Ref[M]{}, err
	}
	p = p.withDefaults()
	b, err := produce(p.New)
	if err != nil {
		return Ref[M]{}, err
	}
	c := newCell(s, p, b)
	if name == "" {
		name = s.proto.ProcessRegistry.NextId()
	}
	if !s.link(parent, &c.node) {
		return Ref[M]{}, fmt.Errorf("%w: actor %q", ErrShutdown, name)
	}
	mk, ok := s.makers.Get().(*maker)
	if !ok {
		mk = newMaker()
	}
	mk.cell = c
	_, err = s.proto.Root.SpawnNamed(mk.props, name)
	mk.cell = nil
	s.makers.Put(mk)
	if err != nil {
		s.unlink(&c.node)
		if errors.Is(err, proto.ErrNameExists) {
			return Ref[M]{}, fmt.Errorf("%w: %q", ErrNameTaken, name)
		}
		return Ref[M]{}, fmt.Errorf("actor: spawn %q: %w", name, err)
	}
	return Ref[M]{c}, nil
}

// produce calls f in a way that keeps its panic from the caller.
func produce[M any](f func() Behavior[M]) (b Behavior[M], err error) {
	defer func() {
		if r := recover(); r != nil {
			b, err = nil, newPanicError(r)
		}
	}()
	if b = f(); b == nil {
		return nil, ErrNilBehavior
	}
	return b, nil
}

// guard keeps a panic of a hook from taking an actor, or its spawner, with it.
func (s *System) guard(hook func()) {
	defer func() {
		if r := recover(); r != nil {
			s.logger.Error("event hook panicked", slog.Any("reason", r))
		}
	}()
	hook()
}

// warnHandler drops what protoactor says below warn: it logs each dead letter and
// each start at info.
type warnHandler struct{ slog.Handler }

func (h warnHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}

func (h warnHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return warnHandler{h.Handler.WithAttrs(a)}
}

func (h warnHandler) WithGroup(n string) slog.Handler { return warnHandler{h.Handler.WithGroup(n)} }
