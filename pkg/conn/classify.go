package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Explain returns one sentence about the reason, without the endpoint, and one hint on what to do.
func (r Reason) Explain() (sentence, hint string) {
	switch r {
	case Refused:
		return "refuses connections", "check that etcd runs there and listens on this port"
	case NoRoute:
		return "cannot be reached from here", "check the network, the routes and firewalls"
	case UnknownHost:
		return "its name does not resolve", "check the spelling of the host name, and the name server"
	case WrongCA:
		return "its certificate is not trusted, or is not for this name", "give the cluster's CA with --cacert, and an endpoint by a name that the certificate lists"
	case NeedCert:
		return "it does not accept this client without a certificate that it trusts", "give a client certificate with --cert and --key"
	case PlainPort:
		return "it does not speak TLS", "use http:// for this endpoint, or the port that speaks TLS"
	case TLSPort:
		return "it speaks TLS only", "use https:// for this endpoint, and --cacert if its CA is not a public one"
	case NotEtcd:
		return "something other than etcd answers there", "check the port: 2379 is etcd's default for clients, 2380 is for its peers"
	case BadLogin:
		return "user name, password or token is refused", "check --user and --password, or get a new token"
	case NoPermission:
		return "the user may not do this", "ask for a role that grants it: etcdctl role grant-permission"
	case NoLeader:
		return "it has no leader", "it is cut off from the other members, or an election is going on"
	case NoQuorum:
		return "it answers, but the cluster cannot agree", "most members are down or cannot reach each other"
	case Silent:
		return "does not answer", "it hangs, or a firewall drops the packets"
	}
	return "failed", ""
}

// Lasting says whether waiting cannot mend it: somebody must change the settings here or at the server.
func (r Reason) Lasting() bool {
	switch r {
	case UnknownHost, WrongCA, NeedCert, PlainPort, TLSPort, NotEtcd, BadLogin, NoPermission:
		return true
	}
	return false
}

// verdict is what an error means for a call that could go to another member.
type verdict int

const (
	final     verdict = iota // an answer: every member would give it
	elsewhere                // another member, or this one later, may do better
	hopeless                 // this endpoint will not do better until somebody changes something
)

// judge classifies the error of a call to an endpoint, given the notes on its connection. cause is the error that says
// most: the one that the connection met, or err itself.
func judge(err error, n *notes) (v verdict, why Reason, cause error) {
	if v, why, ok := judgeAnswer(err); ok {
		return v, why, err
	}
	stage, met, first := n.last()
	if met != nil {
		why = judgeConn(stage, met, first)
		if why.Lasting() {
			return hopeless, why, met
		}
		return elsewhere, why, met
	}
	if status.Code(err) == codes.DeadlineExceeded || status.Code(err) == codes.Canceled ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return elsewhere, Silent, err
	}
	if status.Code(err) == codes.Unavailable {
		return elsewhere, Other, err
	}
	return final, Other, err
}

// judgeAnswer classifies what an etcd server said.
func judgeAnswer(err error) (v verdict, why Reason, ok bool) {
	e, isEtcd := errors.AsType[rpctypes.EtcdError](rpctypes.Error(err))
	if !isEtcd {
		switch desc := rpctypes.ErrorDesc(err); {
		case strings.Contains(desc, "raft proposal dropped"):
			// raft.ErrProposalDropped has no entry in the server's table of errors (api/v3rpc/util.go).
			return elsewhere, NoLeader, true
		case strings.Contains(desc, "waiting for the applied index took too long"):
			return elsewhere, NoQuorum, true // missing from rpctypes' table (3.7.3)
		case fromServer(err) == codes.Unknown && (desc == context.DeadlineExceeded.Error() || desc == context.Canceled.Error()):
			// The call's deadline ended at the server first, whose handler returned its context's error as it was (seen with 3.5.7).
			return elsewhere, NoQuorum, true
		}
		return 0, "", false
	}
	switch {
	case is(e, rpctypes.ErrNoLeader), is(e, rpctypes.ErrNotLeader), is(e, rpctypes.ErrLeaderChanged),
		is(e, rpctypes.ErrTimeoutDueToLeaderFail):
		return elsewhere, NoLeader, true
	case is(e, rpctypes.ErrTimeout), is(e, rpctypes.ErrTimeoutDueToConnectionLost), is(e, rpctypes.ErrUnhealthy):
		return elsewhere, NoQuorum, true
	case is(e, rpctypes.ErrStopped), is(e, rpctypes.ErrNotCapable), is(e, rpctypes.ErrTooManyRequests),
		e.Error() == rpctypes.ErrorDesc(rpctypes.ErrGRPCNotSupportedForLearner):
		return elsewhere, Other, true
	case is(e, rpctypes.ErrPermissionDenied):
		return final, NoPermission, true
	case is(e, rpctypes.ErrAuthFailed), is(e, rpctypes.ErrUserEmpty), is(e, rpctypes.ErrInvalidAuthToken):
		return final, BadLogin, true
	case is(e, rpctypes.ErrAuthOldRevision):
		return elsewhere, BadLogin, true
	}
	return final, Other, true
}

// fromServer returns the code of an error that came as a status; OK for every other one.
func fromServer(err error) codes.Code {
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return codes.OK
}

func is(err, target error) bool { return errors.Is(err, target) }

// judgeConn classifies a failure to connect.
func judgeConn(s stage, err error, first []byte) Reason {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return UnknownHost
		}
		return Silent
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return NoRoute
	}
	if why, ok := judgeTLS(s, err); ok {
		return why
	}
	if why, ok := judgeBytes(s, first); ok {
		return why
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return Silent
	}
	return Other
}

// judgeTLS classifies what went wrong in the handshake, or at the server right after the client's side of it: in TLS 1.3
// a server says only then that it wants another client certificate.
func judgeTLS(s stage, err error) (Reason, bool) {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return WrongCA, true
	}
	if h, ok := errors.AsType[tls.RecordHeaderError](err); ok && s == stageTLS {
		if why, ok := judgeBytes(s, h.RecordHeader[:]); ok {
			return why, true
		}
		return PlainPort, true
	}
	text := err.Error()
	for _, alert := range []string{"certificate required", "bad certificate", "unknown certificate authority", "unknown certificate", "certificate expired", "certificate revoked"} {
		if strings.Contains(text, "remote error: tls: "+alert) {
			return NeedCert, true
		}
	}
	if strings.Contains(text, "missing selected ALPN property") || strings.Contains(text, "tls: no application protocol") {
		return NotEtcd, true
	}
	return "", false
}

// judgeBytes classifies by the first bytes of a server. An HTTP/2 server, as etcd is, starts with a SETTINGS frame: 3 bytes
// of length, of which the first is 0, and the type 4. A TLS record starts with its type, 20 to 23, and its length comes fourth.
func judgeBytes(s stage, first []byte) (Reason, bool) {
	http2 := len(first) > 0 && first[0] == 0 && (len(first) < 4 || first[3] == 4)
	switch {
	case s == stageTLS && http2:
		return PlainPort, true
	case strings.HasPrefix(string(first), "HTTP/"):
		// Asked for TLS, a plain HTTP server complains in plain text; etcd's plain port does so as well.
		if s == stageTLS {
			return PlainPort, true
		}
		return NotEtcd, true
	case s == stagePlain && len(first) >= 3 && first[0] == 21 && first[1] == 3:
		return TLSPort, true // a TLS alert
	case s == stagePlain && len(first) > 0 && !http2:
		return NotEtcd, true
	}
	return "", false
}

// cutShort says whether the server closed the connection without having said anything: what a TLS port does when it gets
// plain text, and a plain port when it gets TLS. It may also just be going down.
func cutShort(s stage, err error, first []byte) bool {
	return len(first) == 0 && (s == stagePlain || s == stageTLS) &&
		(errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// isTooLarge says whether a message was refused for its size, by this side of the connection or the other. gRPC has no code
// of its own for it.
func isTooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && strings.Contains(rpctypes.ErrorDesc(err), "message larger than max")
}
