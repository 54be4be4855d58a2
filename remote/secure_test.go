package remote_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/remote/remotetest"
)

// authority signs certificates in tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate for the name and its key into dir.
func (a *authority) issue(t *testing.T, dir, name string, ips ...net.IP) remote.TLS {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, IPAddresses: ips,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := remote.TLS{CertFile: filepath.Join(dir, "node.pem"), KeyFile: filepath.Join(dir, "node.key"), CAFile: a.file}
	writePEM(t, files.CertFile, "CERTIFICATE", der)
	writePEM(t, files.KeyFile, "EC PRIVATE KEY", private)
	return files
}

func TestAnEndpointWithMutualTLSIsATransport(t *testing.T) {
	files := newAuthority(t).issue(t, t.TempDir(), "localhost", net.IPv4(127, 0, 0, 1))
	remotetest.Run(t, func(*testing.T) remotetest.Factory { return overTCP{tls: files} })
}

func TestWhoeverLacksACertificateOfTheAuthorityGetsNoAnswer(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	named := func(tls remote.TLS) remote.TLS { tls.ServerName = "cluster.internal"; return tls }
	good := named(ours.issue(t, t.TempDir(), "cluster.internal"))
	server := start(t, remote.Config{Self: member.Node{ID: "server"}, TLS: good}, echo)

	foreign := named(theirs.issue(t, t.TempDir(), "cluster.internal"))
	foreign.CAFile = ours.file // trusts us, but we do not know who signed for it
	otherName := ours.issue(t, t.TempDir(), "elsewhere.internal")
	otherName.ServerName = "elsewhere.internal"
	for name, c := range map[string]struct {
		tls  remote.TLS
		want remote.Evidence
	}{
		"a node with a good certificate":         {good, remote.Alive},
		"a certificate of another authority":     {foreign, remote.Unknown},
		"no TLS at all":                          {remote.TLS{}, remote.Unknown},
		"expecting a name that the node has not": {otherName, remote.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			client := start(t, remote.Config{Self: member.Node{ID: "client"}, TLS: c.tls}, echo)
			if got := client.Probe(within(t), server.Self()); got != c.want {
				t.Errorf("probe: got %s, want %s", got, c.want)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			if c.want == remote.Alive {
				ctx, cancel = context.WithTimeout(context.Background(), patience)
			}
			defer cancel()
			if _, err := client.Ask(ctx, server.Self(), "echo", nil); (err == nil) != (c.want == remote.Alive) {
				t.Errorf("ask: got error %v, want one: %t", err, c.want != remote.Alive)
			}
		})
	}
}

func TestACertificateThatIsReplacedOnDiskIsUsedFromThenOn(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	files := ca.issue(t, dir, "before.internal")
	server := start(t, remote.Config{Self: member.Node{ID: "server"}, TLS: files}, echo)
	client := func(name string) *remote.Endpoint {
		tls := ca.issue(t, t.TempDir(), name)
		tls.ServerName = name
		return start(t, remote.Config{Self: member.Node{ID: "client"}, TLS: tls}, echo)
	}
	if got := client("before.internal").Probe(within(t), server.Self()); got != remote.Alive {
		t.Errorf("before: got %s, want alive", got)
	}
	ca.issue(t, dir, "after.internal")
	newer := time.Now().Add(time.Second)
	if err := os.Chtimes(files.CertFile, newer, newer); err != nil {
		t.Fatal(err)
	}
	if got := client("after.internal").Probe(within(t), server.Self()); got != remote.Alive {
		t.Errorf("after: got %s, want alive", got)
	}
	if err := os.WriteFile(files.CertFile, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := client("after.internal").Probe(within(t), server.Self()); got != remote.Alive {
		t.Errorf("with a broken file: got %s, want alive with the earlier certificate", got)
	}
}
