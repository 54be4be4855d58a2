package sbr_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sbr"
)

func all() []sbr.Strategy {
	return []sbr.Strategy{
		sbr.KeepMajority{Role: "r"},
		sbr.StaticQuorum{QuorumSize: 3, Role: "r"},
		sbr.KeepOldest{DownIfAlone: true, Strict: true},
		sbr.KeepOldest{Role: "r"},
		sbr.DownAll{},
		sbr.LeaseMajority{Role: "r", Lease: "x", MinorityDelay: time.Second, ReleaseAfter: time.Minute, AcquireTimeout: time.Second},
	}
}

func TestAStrategyIsReadBackFromItsParameters(t *testing.T) {
	for _, want := range all() {
		got, err := sbr.Parse(want.Name(), want.Parameters())
		if err != nil || got != want {
			t.Errorf("%s: got %#v, %v, want %#v", sbr.Describe(want), got, err, want)
		}
	}
}

func TestDefaultsAreWhatTheyAreDocumentedToBe(t *testing.T) {
	got := sbr.Settings{}.Parameters()
	want := map[string]string{
		"sbr.strategy": "keep-majority", "sbr.role": "", "sbr.stable-after": "5s",
		"sbr.down-all-when-unstable": "4s", "sbr.responsible": "leader",
	}
	if !maps.Equal(got, want) {
		t.Errorf("parameters got %v, want %v", got, want)
	}
	if got := (sbr.Settings{StableAfter: 20 * time.Second}).WithDefaults().DownAllWhenUnstable; got != 15*time.Second {
		t.Errorf("down-all-when-unstable got %v, want 3/4 of 20s", got)
	}
	if s, err := sbr.Parse("keep-oldest", nil); err != nil || s != (sbr.KeepOldest{DownIfAlone: true}) {
		t.Errorf("keep-oldest got %#v, %v, want down-if-alone", s, err)
	}
	d := sbr.LeaseMajority{}.Parameters()
	if d["minority-delay"] != "2s" || d["release-after"] != "40s" || d["acquire-timeout"] != "5s" {
		t.Errorf("lease-majority got %v, want its defaults", d)
	}
}

func TestNoStrategyMeansTheDefault(t *testing.T) {
	v := sbr.View{Self: "a", Members: members("a", "b", "c"), Unreachable: []member.NodeID{"c"}}
	if got, want := sbr.Decide(nil, v).String(), sbr.Decide(sbr.KeepMajority{}, v).String(); got != want {
		t.Errorf("decision got %q, want %q", got, want)
	}
	side := sbr.Side{Members: v.Members, Here: []member.NodeID{"a"}}
	if got, want := sbr.Judge(nil, side).String(), sbr.Judge(sbr.KeepMajority{}, side).String(); got != want {
		t.Errorf("judgement got %q, want %q", got, want)
	}
}

func TestEveryProblemOfTheSettingsIsReportedAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want []string
	}{
		{
			"settings", sbr.Settings{Strategy: sbr.StaticQuorum{}, StableAfter: -2, DownAllWhenUnstable: -2, Responsible: 9}.Validate(),
			[]string{"quorum-size is 0", "stable-after is -2ns", "down-all-when-unstable is -2ns", "responsible(9)"},
		},
		{
			"lease", sbr.Settings{Strategy: sbr.LeaseMajority{MinorityDelay: -1, ReleaseAfter: -1, AcquireTimeout: -1}}.Validate(),
			[]string{"minority-delay is -1ns", "release-after is -1ns", "acquire-timeout is -1ns"},
		},
		{
			"parse", parseError("static-quorum", map[string]string{"quorum-size": "many", "size": "3"}),
			[]string{`quorum-size is "many"`, `"size" is unknown`, "quorum-size is 0"},
		},
		{"parse oldest", parseError("keep-oldest", map[string]string{"down-if-alone": "perhaps"}), []string{`down-if-alone is "perhaps"`}},
		{"parse lease", parseError("lease-majority", map[string]string{"minority-delay": "2"}), []string{`minority-delay is "2"`}},
		{"a pointer", sbr.Settings{Strategy: &sbr.KeepMajority{}}.Validate(), []string{"*sbr.KeepMajority"}},
		{"unknown", parseError("keep-referee", nil), []string{`"keep-referee" is unknown`, "keep-majority"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil {
				t.Fatal("got no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(tt.err.Error(), want) {
					t.Errorf("error got %q, want it to say %q", tt.err, want)
				}
			}
		})
	}
	if _, err := sbr.NewResolver(sbr.Settings{Strategy: sbr.StaticQuorum{}}, "a", ""); err == nil {
		t.Error("NewResolver accepted settings that cannot work")
	}
	var none error
	for _, s := range all() {
		none = errors.Join(none, sbr.Settings{Strategy: s}.Validate())
	}
	if none != nil {
		t.Errorf("valid settings: got %v", none)
	}
}

func parseError(name string, params map[string]string) error {
	_, err := sbr.Parse(name, params)
	return err
}
