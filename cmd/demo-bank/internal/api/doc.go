// Package api is the bank's HTTP interface.
//
//	GET  /accounts/{no}            → {"accountNo", "balance", "sequence"}
//	POST /accounts/{no}/deposit    {"amount": 100} → the same and "transactionId"
//	POST /accounts/{no}/withdraw   {"amount": 100} → the same and "transactionId"
//
// Header X-Tenant-Id names the tenant: an account is one of a tenant's. Deposits
// and withdrawals carry the client's own key in the header Idempotency-Key or the
// query parameter transactionId; a repeat is answered with the recorded reply
// and changes nothing, so that a client that got no answer just sends it again.
//
// Errors are problem+json with the fields code, retryable and mayHaveRun:
//
//	400  refused by the bank's rules (short-balance, excess-balance); unknown-tenant
//	404  no-such-route      405  method-not-allowed
//	409  idempotency-key-reused: the key came before with another payload
//	413  body-too-large
//	422  account-number, idempotency-key, amount-out-of-range, or a field of the body
//	503  unavailable, with Retry-After: send it again
package api
