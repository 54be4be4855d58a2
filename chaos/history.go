package chaos

import "time"

// Statement is what an account says about itself.
type Statement struct {
	Balance int64 `json:"balance"`
	// Sequence counts the deposits that were executed.
	Sequence uint64 `json:"sequence"`
}

// Deposit is one deposit as its client saw it, over all its attempts.
type Deposit struct {
	Account string
	Key     string
	// Amount is unique among the deposits into one account, so that a change of
	// balance tells which deposit caused it.
	Amount int64
	// Start of the first attempt and End of the last one, on the clock of the
	// history.
	Start, End time.Duration
	// Acked says that a reply came: Reply, with the text Body.
	Acked bool
	Reply Reply
	Body  string
	// Repeats are the texts of the replies to the same key sent again after the
	// first reply.
	Repeats []string
}

// Reply to a deposit.
type Reply struct {
	Statement

	AccountNo     string `json:"accountNo"`
	TransactionID string `json:"transactionId"`
}

// Read is a question for the balance that was answered.
type Read struct {
	Statement

	Account    string
	Start, End time.Duration
}

// History is everything that clients sent and saw. Accounts are empty before it.
type History struct {
	Deposits []Deposit
	Reads    []Read
	// Final is what accounts say after all clients have stopped.
	Final map[string]Statement
}
