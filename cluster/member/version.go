package member

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Version is the order of one version of an application: up to three dotted
// numbers, then perhaps a number of commits, then text. The zero value is that
// of "0".
//
//	1.2.3              1 2 3
//	1.2.3-M1           1 2 3        "M1", before 1.2.3
//	1.2.3+10-1234abcd  1 2 3 10     "1234abcd", after 1.2.3
//	2020-09-07         0 0 0        "2020-09-07", ordered as text
type Version struct {
	// numbers are major, minor, patch and the commits since.
	numbers [4]uint64
	rest    string
}

// ParseVersion reads an app version. Text without a dot that is no number is
// ordered as text, before all numbers but zero. A version with dots must have
// two or three parts that start with numbers.
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return Version{}, fmt.Errorf("app version is empty: set one, such as 1.2.3")
	}
	parts := strings.Split(s, ".")
	switch n := len(parts); {
	case n == 1:
		if v, err := strconv.ParseUint(s, 10, 64); err == nil {
			return Version{numbers: [4]uint64{v}}, nil
		}
		return Version{rest: s}, nil
	case n > 3:
		return Version{}, fmt.Errorf("app version %q has %d parts: use three at most, such as 1.2.3", s, n)
	}
	var v Version
	last := len(parts) - 1
	parts[last], v.rest = cutSuffix(parts[last])
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 64)
		if err != nil {
			return Version{}, fmt.Errorf("app version %q: part %q is no number: use numbers, such as 1.2.3, and put text after - or +", s, p)
		}
		v.numbers[i] = n
	}
	if commits, text, ok := strings.Cut(v.rest, "-"); ok {
		if n, err := strconv.ParseUint(commits, 10, 64); err == nil {
			v.numbers[3], v.rest = n, text
		}
	}
	return v, nil
}

// cutSuffix cuts a part at its first - or +.
func cutSuffix(part string) (number, rest string) {
	if i := strings.IndexAny(part, "-+"); i >= 0 {
		return part[:i], part[i+1:]
	}
	return part, ""
}

// Compare orders versions, oldest first.
func (v Version) Compare(w Version) int {
	for i := range v.numbers {
		if c := cmp.Compare(v.numbers[i], w.numbers[i]); c != 0 {
			return c
		}
	}
	switch {
	case v.rest == w.rest:
		return 0
	case v.rest == "":
		return 1
	case w.rest == "":
		return -1
	}
	return cmp.Compare(v.rest, w.rest)
}

// CompareVersions orders app versions as members give them, oldest first. Texts
// that [ParseVersion] refuses come before all that it reads, and among
// themselves by their bytes: they have an order, but none that means "newer".
func CompareVersions(a, b string) int {
	va, ea := ParseVersion(a)
	vb, eb := ParseVersion(b)
	switch {
	case ea == nil && eb == nil:
		return va.Compare(vb)
	case ea == nil:
		return 1
	case eb == nil:
		return -1
	}
	return strings.Compare(a, b)
}
