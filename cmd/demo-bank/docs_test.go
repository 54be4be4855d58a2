package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
)

func TestTheReferenceListsEveryFlag(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for section := range strings.SplitSeq(string(page), "\n## ") {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	parser, err := newParser(&cli{}, &environment{ctx: context.Background(), stdout: io.Discard, stderr: io.Discard}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range parser.Model.Children {
		rows := map[string]string{}
		for line := range strings.Lines(sections[command.Name]) {
			if cells := strings.Split(line, "|"); len(cells) > 3 {
				rows[strings.Trim(cells[1], " `")] = line
			}
		}
		for _, flag := range command.Flags {
			row, ok := rows["--"+flag.Name]
			if !ok {
				t.Errorf("%s: no row for --%s", command.Name, flag.Name)
				continue
			}
			for _, want := range append(flag.Envs, flag.Default) {
				if want != "" && !strings.Contains(row, "`"+want+"`") {
					t.Errorf("%s: the row of --%s does not say `%s`: %s", command.Name, flag.Name, want, row)
				}
			}
			delete(rows, "--"+flag.Name)
		}
		for name := range rows {
			if strings.Trim(name, "-") != "" && strings.HasPrefix(name, "--") {
				t.Errorf("%s: the row of %s is for a flag that is gone", command.Name, name)
			}
		}
	}
}
