package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// NewTLSServer starts a redis-server that also serves TLS. It returns the address there,
// host:port, and the authority that has signed its certificate. The certificate is for host
// only. NewTLSServer skips t if the server was built without TLS.
func NewTLSServer(t testing.TB, host string, args ...string) (s *Server, addr string, authority *x509.CertPool) {
	t.Helper()
	if help, _ := exec.Command(program(t, "redis-cli"), "--help").CombinedOutput(); !strings.Contains(string(help), "--tls") {
		t.Skip("Redis was built without TLS")
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority = writeCertificate(t, host, cert, key)
	s = newServer(t, func(port string) []string {
		secure := strconv.Itoa(freePort(t))
		addr = net.JoinHostPort("127.0.0.1", secure)
		return append([]string{
			"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--logfile", "redis.log",
			"--tls-port", secure, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert,
			"--tls-auth-clients", "no",
		}, args...)
	})
	return s, addr, authority
}

// writeCertificate writes a certificate for host that is its own authority, and its key.
func writeCertificate(t testing.TB, host, cert, key string) *x509.CertPool {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: host},
		DNSNames:              []string{host},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der},
		key:  {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority := x509.NewCertPool()
	authority.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return authority
}
