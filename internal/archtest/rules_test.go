package archtest

const module = "github.com/holdfast-go/holdfast"

// rules is an architecture. Patterns are a package's path from the module
// root, "." for the root package, a path that ends in "/**" for a package and
// all below it, or "*" for everything.
type rules struct {
	// allowed says for each package which packages of the module it may import.
	allowed map[string][]string
	// landing lists rows whose package may still be missing.
	landing []string
	// pure lists packages that decide; pureFiles lists such files in packages
	// that also act, by the glob of their path.
	pure      []string
	pureFiles []string
	// pureMay lists what pure code may import from outside the module.
	pureMay []string
	// homes says for third-party module prefixes where they may be imported.
	homes map[string][]string
}

var house = rules{
	allowed: map[string][]string{
		// values
		"cluster/member": {},

		// deciders
		"sbr":                 {"cluster/member"},
		"sharding/allocation": {"cluster/member"},
		"sharding/placement":  {"cluster/member", "sharding/allocation"},

		"cluster/table": {"cluster/member", "sharding/placement"},

		// ports
		"actor":                             {},
		"proto/**":                          {"proto/**"},
		"remote":                            {"cluster/member", "proto/remote/v1"},
		"remote/remotetest":                 {"cluster/member", "remote"},
		"persistence/journal":               {},
		"persistence/journal/journaltest":   {"persistence/journal"},
		"persistence/journal/memory":        {"persistence/journal"},
		"persistence/journal/sqlite":        {"persistence/journal"},
		"bootstrap/discovery":               {},
		"bootstrap/discovery/discoverytest": {"bootstrap/discovery"},
		"bootstrap/discovery/static":        {"bootstrap/discovery"},
		"internal/wire":                     {"cluster/member", "cluster/table", "proto/**", "sharding/placement"},

		// shells
		"cluster":                     {"cluster/member", "cluster/table", "internal/wire", "remote", "sbr", "sharding/allocation", "sharding/placement"},
		"sharding":                    {"actor", "cluster/member", "internal/wire", "remote", "sharding/placement"},
		"persistence":                 {"actor", "internal/wire", "persistence/journal", "sharding"},
		"persistence/persistencetest": {"persistence", "persistence/journal", "persistence/journal/memory", "sharding"},
		"bootstrap":                   {"bootstrap/discovery", "cluster/member"},
		"coordinatedshutdown":         {},

		// edge
		"httpapi": {"cluster/member", "sharding/placement"},

		// root: composition only
		".": {"*"},

		// programs
		"cmd/demo-bank": {
			".", "bootstrap/**", "cluster", "coordinatedshutdown", "httpapi", "persistence", "persistence/journal",
			"persistence/journal/memory", "persistence/journal/sqlite", "sharding", "cmd/demo-bank/internal/**",
		},
		"cmd/demo-bank/internal/api":        {"cmd/demo-bank/internal/bank", "httpapi", "sharding"},
		"cmd/demo-bank/internal/bank":       {"persistence", "sharding"},
		"cmd/demo-bank/internal/frontdoor":  {},
		"cmd/demo-bank/internal/supervisor": {},

		// proof
		"internal/archtest": {},
		"internal/sim/**":   {"*"},
		"bench/**":          {"*"},
		"chaos/**":          {"*"},
		"ecslab/**":         {"*"},
	},
	landing:   []string{"ecslab/**"},
	pure:      []string{"cluster/member", "cluster/table", "sbr", "sharding/allocation", "sharding/placement"},
	pureFiles: []string{"bootstrap/decide*.go", "coordinatedshutdown/phases*.go"},
	pureMay: []string{
		"bytes", "cmp", "container/heap", "encoding/binary", "errors", "fmt", "hash/fnv", "iter", "maps", "math",
		"math/bits", "net/netip", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8",
	},
	homes: map[string][]string{
		"github.com/alecthomas/kong":        {"cmd/**"},
		"github.com/asynkron/protoactor-go": {"actor"},
		"github.com/go-chi/chi":             {"cmd/**", "httpapi"},
		"github.com/hashicorp/raft":         {"cluster"},
		"google.golang.org/grpc":            {"proto/**", "remote"},
		"google.golang.org/protobuf":        {"internal/wire", "proto/**", "remote"},
		"modernc.org/sqlite":                {"persistence/journal/sqlite"},
	},
}

// clock lists the functions of package time that read or wait for the clock.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}
