// Package actor gives typed local actors on top of protoactor-go.
package actor
