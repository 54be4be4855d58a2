package supervisor

import "bytes"

// maxLine bounds a line in bytes; a longer one is broken.
const maxLine = 64 << 10

// LineWriter collects what one source writes into lines.
type LineWriter struct {
	out    *Output
	prefix string
	part   []byte
}

// Write implements io.Writer. It returns the error of the place written to.
func (l *LineWriter) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		switch {
		case 0 <= i && i <= maxLine:
			if err := l.line(l.part[:i]); err != nil {
				return 0, err
			}
			l.part = l.part[i+1:]
		case len(l.part) >= maxLine:
			if err := l.line(l.part[:maxLine]); err != nil {
				return 0, err
			}
			l.part = l.part[maxLine:]
		default:
			if len(l.part) == 0 {
				l.part = nil
			}
			return len(p), nil
		}
	}
}

// flush ends a line that its source left open.
func (l *LineWriter) flush() {
	if len(l.part) > 0 {
		_ = l.line(l.part) // the source is gone: there is nobody to tell
		l.part = nil
	}
}

func (l *LineWriter) line(text []byte) error {
	line := make([]byte, 0, len(l.prefix)+len(text)+1)
	line = append(line, l.prefix...)
	line = append(line, bytes.TrimSuffix(text, []byte("\r"))...)
	line = append(line, '\n')
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	_, err := l.out.w.Write(line)
	return err
}
