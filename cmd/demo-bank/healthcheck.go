package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

type healthcheckCmd struct {
	Addr    string        `default:"127.0.0.1:9002" env:"HOLDFAST_HEALTHCHECK_ADDR" help:"Management address of the node."`
	Timeout time.Duration `default:"3s" help:"Time for the answer."`
}

// Run implements the command.
func (c *healthcheckCmd) Run(e *environment) error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return usagef("--addr %q must be host:port", c.Addr)
	}
	if c.Timeout <= 0 {
		return usagef("--timeout is %v: it must be positive", c.Timeout)
	}
	ctx, cancel := context.WithTimeout(e.ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addr+"/alive", nil)
	if err != nil {
		return usagef("--addr: %v", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("not alive: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing depends on it
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not alive: %s answered %s", c.Addr, resp.Status)
	}
	return nil
}
