package placement

import (
	"errors"
	"fmt"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Check reports everything that is wrong with the rows of a table by
// themselves: an owner without assignment, or an assignment without owner.
func Check(t *Table) error {
	var errs []error
	for _, c := range t.Rows() {
		if err := checkRow(c); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func checkRow(c Change) error {
	row := c.Row
	switch row.State {
	case Unassigned:
		if row.Owner != "" {
			return fmt.Errorf("placement: %s is unassigned but has owner %s", c.Key, row.Owner)
		}
	case Running, Moving:
		switch {
		case row.Owner == "":
			return fmt.Errorf("placement: %s is %s but has no owner", c.Key, row.State)
		case row.Epoch == 0:
			return fmt.Errorf("placement: %s is %s but was never assigned", c.Key, row.State)
		case row.State == Running && row.To != "":
			return fmt.Errorf("placement: %s is running but should go to %s", c.Key, row.To)
		case row.To == row.Owner:
			return fmt.Errorf("placement: %s moves from %s to itself", c.Key, row.Owner)
		}
	default:
		return fmt.Errorf("placement: %s has %s", c.Key, row.State)
	}
	if row.Since < row.Epoch {
		return fmt.Errorf("placement: %s changed last at %d, before its epoch %d", c.Key, row.Since, row.Epoch)
	}
	return nil
}

// History follows the changes of a table and checks what must hold from one to
// the next (I1, seen from the table): a shard has one owner at an epoch, it
// changes its owner only after the one before released it or lost its session,
// and epochs only grow. The zero value is ready to use. It is meant for tests
// and simulations.
type History struct {
	rows   map[Key]Shard
	owners map[Key]map[uint64]member.NodeID
}

// Observe adds a row as it is now and reports everything about it that must not
// be. Rows may be observed again; a shard's rows must come in table order.
func (h *History) Observe(c Change) error {
	if h.rows == nil {
		h.rows = map[Key]Shard{}
		h.owners = map[Key]map[uint64]member.NodeID{}
	}
	errs := []error{checkRow(c)}
	before, known := h.rows[c.Key]
	now := c.Row
	if known {
		switch {
		case now.Epoch < before.Epoch:
			errs = append(errs, fmt.Errorf("placement: epoch of %s went from %d to %d", c.Key, before.Epoch, now.Epoch))
		case now.Since < before.Since:
			errs = append(errs, fmt.Errorf("placement: last change of %s went from %d to %d", c.Key, before.Since, now.Since))
		case before.Owner != "" && now.Owner != "" && now.Owner != before.Owner:
			errs = append(errs, fmt.Errorf("placement: %s went from %s to %s without being released", c.Key, before.Owner, now.Owner))
		case before.Owner == "" && now.Owner != "" && now.Epoch == before.Epoch:
			errs = append(errs, fmt.Errorf("placement: %s was assigned to %s without a new epoch, still %d", c.Key, now.Owner, now.Epoch))
		case before.State == Moving && now.State == Running && now.Epoch == before.Epoch:
			errs = append(errs, fmt.Errorf("placement: %s runs again at epoch %d although its move had begun", c.Key, now.Epoch))
		}
	}
	if now.Owner != "" {
		if h.owners[c.Key] == nil {
			h.owners[c.Key] = map[uint64]member.NodeID{}
		}
		if had, ok := h.owners[c.Key][now.Epoch]; ok && had != now.Owner {
			errs = append(errs, fmt.Errorf("placement: %s has two owners at epoch %d: %s and %s", c.Key, now.Epoch, had, now.Owner))
		}
		h.owners[c.Key][now.Epoch] = now.Owner
	}
	h.rows[c.Key] = now
	return errors.Join(errs...)
}
