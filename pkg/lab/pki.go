package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki holds the files that prove who is who, and the members' flags that name them. Fields are empty where not needed.
type pki struct {
	ca, clientCert, clientKey string
	memberArgs                []string
}

// newPKI makes in dir what cfg asks for.
func newPKI(cfg Config, dir string) (*pki, error) {
	p := &pki{}
	if cfg.TLS == Plain && !cfg.Auth.JWT {
		return p, p.tokens(cfg.Auth, dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if cfg.TLS != Plain {
		if err := p.certificates(cfg.TLS, dir); err != nil {
			return nil, err
		}
	}
	return p, p.tokens(cfg.Auth, dir)
}

func (p *pki) certificates(mode TLSMode, dir string) error {
	p.ca = filepath.Join(dir, "ca.crt")
	ca, caKey, err := authority(p.ca)
	if err != nil {
		return err
	}
	server, serverKey := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	// etcd's own gateway calls its server with the server's certificate, hence both usages.
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if err := issue(ca, caKey, certRequest{cn: "etcdx-lab server", usage: usage, cert: server, key: serverKey}); err != nil {
		return err
	}
	p.memberArgs = append(p.memberArgs, "--cert-file="+server, "--key-file="+serverKey)
	if mode != MutualTLS {
		return nil
	}
	p.clientCert, p.clientKey = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	p.memberArgs = append(p.memberArgs, "--client-cert-auth", "--trusted-ca-file="+p.ca)
	return issue(ca, caKey, certRequest{cn: "etcdx-lab client", usage: usage[1:], cert: p.clientCert, key: p.clientKey})
}

// certRequest says what certificate to issue, and the files to write.
type certRequest struct {
	cn        string
	usage     []x509.ExtKeyUsage
	cert, key string
}

// validity is how long a lab's certificates are good for; they begin an hour ago, for clocks that differ.
const validity = 30 * 24 * time.Hour

func template(cn string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: cn},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
	}
}

// authority makes a certificate authority and writes its certificate to file.
func authority(file string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template("etcdx-lab CA")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	return ca, key, writePEM(file, "CERTIFICATE", der)
}

func issue(ca *x509.Certificate, caKey *ecdsa.PrivateKey, r certRequest) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template(r.cn)
	t.ExtKeyUsage, t.KeyUsage = r.usage, x509.KeyUsageDigitalSignature
	if r.usage[0] == x509.ExtKeyUsageServerAuth {
		t.DNSNames, t.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	if err := writePEM(r.cert, "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(r.key, key)
}

// tokens adds the flags for the tokens that members issue.
func (p *pki) tokens(auth Auth, dir string) error {
	if auth.Password != "" {
		// Passwords of tests need not be expensive to guess.
		p.memberArgs = append(p.memberArgs, "--bcrypt-cost=4")
	}
	seconds := int(auth.TokenTTL.Seconds())
	if !auth.JWT {
		if seconds > 0 {
			p.memberArgs = append(p.memberArgs, fmt.Sprintf("--auth-token-ttl=%d", seconds))
		}
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, private := filepath.Join(dir, "token.pub"), filepath.Join(dir, "token.key")
	if err := writeKey(private, key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	p.memberArgs = append(p.memberArgs, fmt.Sprintf("--auth-token=jwt,pub-key=%s,priv-key=%s,sign-method=ES256,ttl=%ds", public, private, seconds))
	return writePEM(public, "PUBLIC KEY", der)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
