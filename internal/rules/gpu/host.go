package gpu

import (
	"slices"

	"github.com/caisson/caisson/internal/api/inventory"
)

// HostFiles are files and directories that a host has, by their names below its
// root, with the text of each; a directory has none.
type HostFiles map[string]string

func (f HostFiles) has(name string) bool { _, ok := f[name]; return ok }

// HostFileNames are the names that DriverOfHost looks for.
func HostFileNames() []string {
	var out []string
	for _, v := range Vendors() {
		out = append(out, v.HostFiles...)
		for _, m := range v.Modules {
			out = append(out, moduleDirectory(m.Name))
		}
	}
	return out
}

func moduleDirectory(module string) string { return "sys/module/" + module }

// DriverOfHost finds what drives a host's GPUs.
func DriverOfHost(gpus []inventory.GPU, files HostFiles) inventory.Driver {
	var d inventory.Driver
	for _, v := range Vendors() {
		if v.HostDriver == nil {
			continue
		}
		if installed := v.HostDriver(files); installed.State != "" {
			return installed
		}
	}
	for _, v := range Vendors() {
		for _, m := range v.Modules {
			if m.State == inventory.DriverInstalled || !holdsGPUs(m, v, gpus, files) {
				continue
			}
			d.Names = append(d.Names, m.Name)
			if d.State != inventory.DriverNouveau {
				d.State = m.State
			}
		}
	}
	if len(d.Names) == 0 && len(gpus) > 0 {
		d.State = inventory.DriverNone
	}
	return d
}

// holdsGPUs says whether a module is bound to a GPU, or loaded where there are
// GPUs that it is for.
func holdsGPUs(m Module, v Vendor, gpus []inventory.GPU, files HostFiles) bool {
	bound := slices.ContainsFunc(gpus, func(g inventory.GPU) bool { return g.Bound == m.Name })
	return bound || files.has(moduleDirectory(m.Name)) && hasVendor(gpus, v.ID)
}
