package conn

import (
	"errors"
	"strings"
)

// ErrMoved is the cancellation cause of a stream's context when its member no longer serves it well.
var ErrMoved = errors.New("the member stopped answering: moving to another one")

// Reason classifies why an endpoint did not do what was asked of it.
type Reason string

// The reasons, each with one sentence and one hint in Explain.
const (
	Refused      Reason = "refused"       // nothing listens at host:port
	NoRoute      Reason = "no-route"      // the network does not lead there
	UnknownHost  Reason = "unknown-host"  // the name does not resolve
	WrongCA      Reason = "wrong-ca"      // the server's certificate is not trusted or not for this name
	NeedCert     Reason = "need-cert"     // the server asks for a client certificate
	PlainPort    Reason = "plain-port"    // TLS spoken to a port without it
	TLSPort      Reason = "tls-port"      // plain text spoken to a TLS port
	NotEtcd      Reason = "not-etcd"      // something else answers, such as an HTTP server
	BadLogin     Reason = "bad-login"     // user, password or token refused
	NoPermission Reason = "no-permission" // authenticated, but not allowed
	NoLeader     Reason = "no-leader"     // the member has lost the cluster's leader
	NoQuorum     Reason = "no-quorum"     // the member answers, but the cluster cannot agree
	Silent       Reason = "silent"        // nothing came back in time
	Other        Reason = "other"
)

// Attempt is what one endpoint said, or did not say.
type Attempt struct {
	Endpoint string
	Reason   Reason
	Err      error
}

// UnavailableError says that no endpoint served a call, and that nothing was applied: repeating it is safe.
type UnavailableError struct {
	Attempts []Attempt // the last one of each endpoint, in the order of the endpoints
	// Cause is what ended the waiting: context.DeadlineExceeded, or nil when waiting could not have helped.
	Cause error
}

// Error returns one line; the command line prints one more per attempt.
func (e *UnavailableError) Error() string {
	parts := make([]string, len(e.Attempts))
	for i, a := range e.Attempts {
		sentence, _ := a.Reason.Explain()
		if a.Reason == Other {
			sentence = a.Err.Error()
		}
		parts[i] = a.Endpoint + " " + sentence
	}
	text := "no endpoint served the request"
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, "; ")
	}
	if e.Cause != nil {
		// The words that scripts around etcdctl look for.
		text = e.Cause.Error() + ": " + text
	}
	return text
}

// Unwrap returns the cause and the attempts' errors.
func (e *UnavailableError) Unwrap() []error {
	var errs []error
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

// Lasting returns what somebody has to change, at the settings or at the server, before the call can work at all. Without
// ok, trying again later may do.
func (e *UnavailableError) Lasting() (why Reason, ok bool) {
	for _, a := range e.Attempts {
		if !a.Reason.Lasting() {
			return "", false
		}
		if why == "" {
			why = a.Reason
		}
	}
	return why, why != ""
}

// UnknownOutcomeError says that a write was sent and its result was never learnt: it may be applied, now or later.
type UnknownOutcomeError struct{ Err error }

// Error tells that the outcome is unknown, and why.
func (e *UnknownOutcomeError) Error() string { return "outcome unknown: " + e.Err.Error() }

// Unwrap returns what ended the attempt.
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// MaybeApplied says whether err leaves open if a write took effect.
func MaybeApplied(err error) bool {
	_, ok := errors.AsType[*UnknownOutcomeError](err)
	return ok
}
