package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// wanted says whether TLS is used where an endpoint's scheme leaves it open, by the rule of etcdctl (clientv3's
// NewClientConfig): unless it is switched off, and even then when any of its settings is given.
func (t TLS) wanted() bool {
	return !t.Insecure || t.SkipVerify || t.CACert != "" || t.Cert != "" || t.Key != "" || t.ServerName != ""
}

// config reads the files and returns the settings for one handshake.
func (t TLS) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
	if t.CACert != "" {
		pem, err := os.ReadFile(t.CACert)
		if err != nil {
			return nil, fmt.Errorf("CA certificate: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA certificate: %s: no certificate in it", t.CACert)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, fmt.Errorf("client certificate: a certificate and its key are needed, only one is given")
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		// Given on request whatever authorities the server names: with Certificates, one that the server's list does not
		// cover would be held back, and the failure would read as if none had been set.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return cfg, nil
}

// handshaker makes TLS connections. It reads the certificate files for each of them, so that renewed ones are used
// without a restart, and notes what goes wrong.
type handshaker struct {
	credentials.TransportCredentials // what there is to know before a connection: protocol and server name
	tls                              TLS
	notes                            *notes
}

func newHandshaker(t TLS, n *notes) handshaker {
	return handshaker{credentials.NewTLS(&tls.Config{ServerName: t.ServerName}), t, n}
}

// ClientHandshake implements credentials.TransportCredentials.
func (h handshaker) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := h.tls.config()
	if err != nil {
		h.notes.failed(stageTLS, err)
		return nil, nil, err
	}
	if h.tls.ServerName != "" {
		authority = h.tls.ServerName // gRPC checks the certificate against this, whatever the configuration says
	}
	c, info, err := credentials.NewTLS(cfg).ClientHandshake(ctx, authority, raw)
	if err != nil {
		h.notes.failed(stageTLS, err)
		return nil, nil, err
	}
	return &watched{Conn: c, notes: h.notes, stage: stageSecured}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (h handshaker) Clone() credentials.TransportCredentials {
	h.TransportCredentials = h.TransportCredentials.Clone()
	return h
}
