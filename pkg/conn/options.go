package conn

import (
	"time"
)

// Options says what to connect to and how. The zero value of a field means its default.
type Options struct {
	// Endpoints in order of preference: host:port, http(s)://host:port, unix(s)://path, [v6]:port.
	Endpoints []string
	// DialTimeout bounds one connection attempt (default 2 s).
	DialTimeout time.Duration
	// KeepAliveTime and KeepAliveTimeout are gRPC's; grpc-go raises a time below 10 s to 10 s, so liveness here
	// never rests on them.
	KeepAliveTime, KeepAliveTimeout time.Duration
	// MaxSendBytes and MaxRecvBytes bound one message (0: clientv3's defaults, 2 MiB and unlimited).
	MaxSendBytes, MaxRecvBytes int

	TLS  TLS
	Auth Auth

	// Pin keeps all work on the first endpoint: no fail-over, no hedging, and writes exactly as clientv3 sends them.
	Pin bool
	// RetryAfter is how long an endpoint that failed is set aside (default 30 s).
	RetryAfter time.Duration
	// StateFile keeps the verdicts on endpoints across processes; empty: nowhere. It never makes a call fail.
	StateFile string
	// Notice is told, in a few words for people, what a call has been waiting for; nil: nobody.
	Notice func(text string)
}

// TLS says how to prove who is at the other end, and who is at this one. Files are read again on every new connection.
type TLS struct {
	CACert, Cert, Key string
	ServerName        string
	// SkipVerify accepts any server certificate.
	SkipVerify bool
	// Insecure is etcdctl's --insecure-transport: no TLS unless the endpoint's scheme asks for it.
	Insecure bool
}

// Auth is who the user is: a name with a password, or a ready token.
type Auth struct {
	User, Password, Token string
}
