package gpu

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

func readCatalogue(t testing.TB) *Catalogue {
	t.Helper()
	c, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	idRule    = regexp.MustCompile(`^[0-9a-f]{4}$`)
	dateRule  = regexp.MustCompile(`^20[0-9]{2}-[01][0-9](-[0-3][0-9])?$`)
	monthRule = regexp.MustCompile(`^20[0-9]{2}-[01][0-9]$`)
	// readAt is when the catalogue was written down: branches alive then count.
	readAt = "2026-08"
)

func TestDevicesAreWhole(t *testing.T) {
	c := readCatalogue(t)
	seen := map[string]bool{}
	for _, d := range c.Devices.Devices {
		id := d.Vendor + ":" + d.Device
		if seen[id] || c.IsSwitch(d.Vendor, d.Device) {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		if !idRule.MatchString(d.Vendor) || !idRule.MatchString(d.Device) || d.Product == "" || d.Architecture == "" {
			t.Errorf("%s: %+v", id, d)
		}
		for _, source := range append(d.Facts, d.Source) {
			sourced(t, c.Devices.Sources, id, source)
		}
		if d.MIG != "" && len(c.Profiles(d.Vendor, d.Device)) == 0 {
			t.Errorf("%s names MIG profiles %q that are not there", id, d.MIG)
		}
		if d.MemoryGiB < 0 || d.MemoryGiB > 1024 || (d.Vendor == NVIDIA) != (c.Drivers.age(d.Architecture) >= 0) {
			t.Errorf("%s: memory or architecture: %+v", id, d)
		}
		if !slices.Contains([]string{"", NVSwitch, NVLink5}, d.Interconnect) {
			t.Errorf("%s: interconnect %q", id, d.Interconnect)
		}
	}
	for _, s := range c.Devices.Switches {
		sourced(t, c.Devices.Sources, s.Product, s.Source)
	}
	if len(seen) < 80 {
		t.Errorf("only %d devices", len(seen))
	}
}

func sourced(t *testing.T, sources map[string]Source, row, name string) {
	t.Helper()
	if s, ok := sources[name]; !ok || s.Where == "" || !dateRule.MatchString(s.Date) {
		t.Errorf("%s: source %q is %+v", row, name, s)
	}
}

func TestMIGFitsMemory(t *testing.T) {
	c := readCatalogue(t)
	raw, err := data.ReadFile("data/devices.yaml")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, d := range c.Devices.Devices {
		used[d.MIG] = true
	}
	for source := range c.Devices.Sources {
		if !bytes.Contains(raw, []byte(source+"}")) && !bytes.Contains(raw, []byte(source+",")) && !bytes.Contains(raw, []byte(source+"]")) {
			t.Errorf("no row comes from %s", source)
		}
	}
	for name, m := range c.Devices.MIG {
		sourced(t, c.Devices.Sources, name, m.Source)
		if !used[name] {
			t.Errorf("no device has MIG profiles %s", name)
		}
		for p, n := range m.Profiles {
			if !site.ProfileRule.MatchString(p) || n < 1 || n > 7 {
				t.Errorf("%s: %s x %d", name, p, n)
			}
		}
	}
	for _, d := range c.Devices.Devices {
		for p, n := range c.Profiles(d.Vendor, d.Device) {
			var g, size int
			if _, err := sscan(p, &g, &size); err != nil || g*n > 7 || (d.MemoryGiB > 0 && size*n > d.MemoryGiB+4) {
				t.Errorf("%s: %d x %s do not fit %d GiB (%v)", d.Product, n, p, d.MemoryGiB, err)
			}
		}
	}
}

// TestRulesAgree: no architecture asks for what no branch has.
func TestRulesAgree(t *testing.T) {
	d := &readCatalogue(t).Drivers
	for _, a := range d.Architectures {
		sourced(t, d.Sources, a.Name, a.Source)
		if len(a.Modules) == 0 || a.FirstCUDA == 0 || (a.LastCUDA != 0 && a.LastCUDA < a.FirstCUDA) {
			t.Errorf("%+v", a)
		}
		live := false
		for _, b := range d.Branches {
			if !d.Drives(b, a.Name) {
				continue
			}
			live = live || !b.Ended(readAt)
			if !slices.ContainsFunc(a.Modules, func(m string) bool { return slices.Contains(b.Modules, m) }) {
				t.Errorf("branch %d drives %s, but has none of its modules %v", b.Branch, a.Name, a.Modules)
			}
			if b.CUDAMax < a.FirstCUDA {
				t.Errorf("branch %d drives %s, but stops at CUDA %d", b.Branch, a.Name, b.CUDAMax)
			}
		}
		if !live {
			t.Errorf("no live branch drives %s", a.Name)
		}
	}
	for _, b := range d.Branches {
		sourced(t, d.Sources, "branch", b.Source)
		if d.age(b.First) < 0 || d.age(b.Last) < d.age(b.First) || (b.EOL != "" && !monthRule.MatchString(b.EOL)) {
			t.Errorf("%+v", b)
		}
	}
	if !slices.IsSortedFunc(d.Branches, func(a, b Branch) int { return a.Branch - b.Branch }) {
		t.Error("branches are out of order or doubled")
	}
}

func TestEveryDeviceHasALiveDriver(t *testing.T) {
	c := readCatalogue(t)
	newest, _ := c.Drivers.Release("")
	for _, dev := range c.Devices.Devices {
		if dev.Vendor != NVIDIA {
			continue
		}
		if _, _, ok := c.Drivers.chooseDriver(newest, []Device{dev}, readAt); !ok {
			t.Errorf("%s has no driver in %s", dev.Product, newest.From)
		}
		a, _ := c.Drivers.Architecture(dev.Architecture)
		if dev.Modules != "" && !slices.Contains(a.Modules, dev.Modules) {
			t.Errorf("%s wants %s modules, %s has none", dev.Product, dev.Modules, a.Name)
		}
	}
}

func TestOperatorsAndImages(t *testing.T) {
	d := &readCatalogue(t).Drivers
	for i, o := range d.Operators {
		sourced(t, d.Sources, o.From, o.Source)
		if i > 0 && !before(o.From, d.Operators[i-1].From) {
			t.Errorf("%s does not come before %s", o.From, d.Operators[i-1].From)
		}
		for _, v := range o.Drivers {
			if _, ok := d.Branch(branchOf(v)); !ok {
				t.Errorf("%s names %s, whose branch is unknown", o.From, v)
			}
		}
	}
	for _, s := range d.Images.Systems {
		sourced(t, d.Sources, s.ID, s.Source)
	}
	for _, p := range d.Images.Precompiled {
		sourced(t, d.Sources, p.ID, p.Source)
		for _, n := range p.Branches {
			if _, ok := d.Branch(n); !ok {
				t.Errorf("precompiled images of an unknown branch %d", n)
			}
		}
	}
	for _, x := range d.InTree {
		sourced(t, d.Sources, x.Vendor, x.Source)
	}
}

func TestTagFollowsTheOperator(t *testing.T) {
	d := &readCatalogue(t).Drivers
	for _, tc := range []struct {
		operator string
		os       inventory.OS
		want     string
	}{
		{"v26.7.0", inventory.OS{ID: "rhel", Version: "9.4"}, "rhel9"},
		{"v26.3.2", inventory.OS{ID: "rhel", Version: "9.4"}, "rhel9.4"},
		{"v27.1.0", inventory.OS{ID: "rocky", Version: "9.6"}, "rocky9"},
		{"v26.7.0", inventory.OS{ID: "ubuntu", Version: "24.04"}, "ubuntu24.04"},
		{"", inventory.OS{ID: "rhcos", Version: "4.18"}, "rhcos4.18"},
	} {
		o, ok := d.Release(tc.operator)
		if got := o.Tag(tc.os); !ok || got != tc.want {
			t.Errorf("%s %+v: %q, want %q", tc.operator, tc.os, got, tc.want)
		}
	}
	if _, ok := d.Release("v1.2.3"); ok {
		t.Error("an operator from before the catalogue is known")
	}
}

// sscan reads a MIG profile.
func sscan(profile string, g, size *int) (int, error) {
	return fmt.Sscanf(profile, "%dg.%dgb", g, size)
}
