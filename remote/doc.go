// Package remote carries messages between nodes over ordered lanes.
package remote
