// Package remotev1 is the wire format of connections and lanes, generated from
// remote.proto by proto/generate.sh.
package remotev1
