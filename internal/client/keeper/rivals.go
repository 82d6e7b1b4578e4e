package keeper

import (
	"fmt"
	"path"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/caisson/caisson/internal/rules/mirror"
)

// reportRivals looks for other files of CRIODir that lead one of the hosts elsewhere:
// CRI-O takes, for one prefix, what the last file by name says. What another
// stack wrote is a problem, what an administrator wrote after ours a warning.
func (a *agent) reportRivals(s *Status, c mirror.Config) {
	if a.opt.CRIO == "" || a.opt.Remove {
		return
	}
	k, err := openKeeper(a.opt.CRIO, c.Stack)
	if err != nil {
		return // keepDirectory has reported it
	}
	defer func() { _ = k.close() }()
	for _, r := range k.findRivals(c) {
		if text := r.path + " leads " + r.host + " to " + r.location; len(r.owners) > 0 {
			s.Problems = append(s.Problems, fmt.Sprintf("%s for stack %s, which has another site registry", text, strings.Join(r.owners, ", ")))
		} else {
			s.Warnings = append(s.Warnings, text+", and CRI-O goes by it")
		}
	}
}

// rival is a file that leads a host elsewhere.
type rival struct {
	path, host, location string
	owners               []string
}

func (k *keeper) findRivals(c mirror.Config) (out []rival) {
	ours := c.CRIO()[0].Path
	d, err := k.root.Open(".")
	if err != nil {
		return nil
	}
	defer d.Close()
	entries, _ := d.ReadDir(maxEntries)
	for _, e := range entries {
		if e.Name() == ours || path.Ext(e.Name()) != ".conf" {
			continue
		}
		there, err := k.readState(e.Name())
		if err != nil || len(there.owners) == 0 && e.Name() < ours {
			continue
		}
		leads := parseLocations(there.data)
		for _, host := range c.Hosts {
			if location := leads[host]; location != "" && location != c.Target(host, "") {
				out = append(out, rival{e.Name(), host, location, there.owners})
			}
		}
	}
	return out
}

// parseLocations are where a registries.conf leads, by prefix; nothing when it cannot
// be read.
func parseLocations(data []byte) map[string]string {
	var conf struct {
		Registry []struct{ Prefix, Location string }
	}
	if toml.Unmarshal(data, &conf) != nil {
		return nil
	}
	out := map[string]string{}
	for _, r := range conf.Registry {
		if r.Prefix == "" {
			r.Prefix = r.Location
		}
		out[r.Prefix] = r.Location
	}
	return out
}
