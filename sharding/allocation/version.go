package allocation

import (
	"cmp"
	"strings"
)

// CompareVersions orders app versions, oldest first. A version is dotted
// numbers with an optional suffix: missing numbers are zero ("1.2" equals
// "1.2.0"), "-suffix" comes before the version it announces ("1.2.0-rc1" <
// "1.2.0") and "+suffix" after it ("1.2.0" < "1.2.0+3-abcd"). Numbers within
// suffixes compare as numbers. Any other text comes before every version that
// starts with numbers and compares by its text: a bare commit hash has an
// order, but not one that means "newer". The empty version is the oldest.
func CompareVersions(a, b string) int {
	na, sa, oka := splitVersion(a)
	nb, sb, okb := splitVersion(b)
	switch {
	case !oka && !okb:
		return compareNatural(a, b)
	case !oka:
		return -1
	case !okb:
		return 1
	}
	for na != "" || nb != "" {
		var pa, pb string
		pa, na, _ = strings.Cut(na, ".")
		pb, nb, _ = strings.Cut(nb, ".")
		if c := compareNumbers(pa, pb); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(suffixRank(sa), suffixRank(sb)), compareNatural(sa, sb))
}

// splitVersion cuts a version before its suffix; ok is false when what comes
// before is not dotted numbers.
func splitVersion(v string) (numbers, suffix string, ok bool) {
	if i := strings.IndexAny(v, "-+"); i >= 0 {
		v, suffix = v[:i], v[i:]
	}
	for part := range strings.SplitSeq(v, ".") {
		if part == "" || digits(part) != len(part) {
			return "", "", false
		}
	}
	return v, suffix, true
}

func suffixRank(suffix string) int {
	switch {
	case suffix == "":
		return 1
	case suffix[0] == '-':
		return 0
	}
	return 2
}

// compareNatural compares texts byte by byte, runs of digits as numbers and
// before anything else.
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		switch {
		case da > 0 && db > 0:
			if c := compareNumbers(a[:da], b[:db]); c != 0 {
				return c
			}
			a, b = a[da:], b[db:]
		case da > 0:
			return -1
		case db > 0:
			return 1
		case a[0] != b[0]:
			return cmp.Compare(a[0], b[0])
		default:
			a, b = a[1:], b[1:]
		}
	}
	return cmp.Compare(len(a), len(b))
}

// compareNumbers compares runs of digits of any length; "" is zero.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// digits is the length of the run of digits that s starts with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}
