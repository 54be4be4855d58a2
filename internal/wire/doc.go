// Package wire translates between the protobuf messages of package proto and
// the values of the domain. Nothing else in the module reads or writes the
// generated types, so the wire may change without the domain noticing.
//
// Decoders accept bytes from other nodes: they check every bound and enum and
// return an error that names the field.
package wire
