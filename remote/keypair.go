package remote

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// keyPair is a certificate and key in files that may be replaced while the
// process runs.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	changed time.Time // the newer modification time of the two files
}

func newKeyPair(certFile, keyFile string, log *slog.Logger) (*keyPair, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile, log: log}
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// current returns the certificate in the files, or the last good one.
func (k *keyPair) current() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t, err := k.modified(); err != nil || !t.Equal(k.changed) {
		if err := k.load(); err != nil {
			k.log.Warn("certificate cannot be read again, using the earlier one", slog.Any("error", err))
		}
	}
	return k.pair
}

func (k *keyPair) load() error {
	t, err := k.modified()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return fmt.Errorf("remote: TLS.CertFile %s and TLS.KeyFile %s: %w", k.certFile, k.keyFile, err)
	}
	k.pair, k.changed = &pair, t
	return nil
}

func (k *keyPair) modified() (time.Time, error) {
	var newest time.Time
	for _, name := range []string{k.certFile, k.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return time.Time{}, fmt.Errorf("remote: TLS file: %w", err)
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest, nil
}
