// Command demo-bank is a bank on Holdfast: accounts that live on a cluster of
// nodes, each a process, and survive the loss of any of them.
//
//	demo-bank dev          three nodes and a front door on this machine
//	demo-bank serve        one node
//	demo-bank healthcheck  for a container: is the node alive?
//
// Exit codes: 0 done, 2 the command line or the configuration is wrong, those of
// package coordinatedshutdown when a node ends for a reason of its own, 1 any other
// failure.
package main
