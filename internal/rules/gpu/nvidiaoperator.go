package gpu

import (
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// DriverKind is the kind of objects that say which driver image goes where.
const DriverKind = "NVIDIADriver"

// Names of what the operator's chart is made to create, and of entries there.
const (
	migConfigMap    = "caisson-mig-layouts"
	pluginConfigMap = "caisson-device-plugin"
	migWhole        = "all-disabled" // the layout that leaves GPUs whole
	pluginDefault   = "default"      // the device plugin's configuration on all other nodes
)

func nvidiaOperator() *Operator {
	return &Operator{
		Title: "NVIDIA's gpu-operator", Chart: "gpu-operator",
		NodeLabel:  "nvidia.com/gpu.present",
		NodeLabels: []string{site.LabelMIG, site.LabelPlugin},
		Unchosen:   map[string]string{site.LabelMIG: migWhole},
		Group:      "nvidia.com", Resource: "nvidiadrivers", Kind: DriverKind,
		ChoosesDriver: choosesNVIDIADriver,
		Values:        nvidiaValues,
		Object:        nvidiaDriverObject,
		Labels:        nvidiaLabels,
	}
}

func choosesNVIDIADriver(stack, site map[string]any) bool {
	driver, _ := site["driver"].(map[string]any)
	for _, key := range []string{"enabled", "repository", "image", "version", "usePrecompiled", "nvidiaDriverCRD"} {
		if _, has := driver[key]; has {
			return true
		}
	}
	driver, _ = stack["driver"].(map[string]any)
	return driver["enabled"] == false
}

// nvidiaValues choose the driver and carry out the policy.
func nvidiaValues(drivers []DriverImage, onHost bool, p site.Policy) (map[string]any, error) {
	out := map[string]any{}
	if driver := nvidiaDriver(drivers, onHost); len(driver) > 0 {
		out["driver"] = driver
	}
	if p.MIG.Strategy != "" || len(p.MIG.Layouts) > 0 {
		out["mig"] = map[string]any{"strategy": p.MIG.EffectiveStrategy()}
	}
	if len(p.MIG.Layouts) > 0 {
		text, err := nvidiaMIGConfig(p.MIG)
		if err != nil {
			return nil, err
		}
		out["migManager"] = configMapValue(migConfigMap, migWhole, map[string]any{"config.yaml": text})
	}
	if len(p.TimeSlicing) > 0 {
		configs, err := nvidiaPluginConfigs(p)
		if err != nil {
			return nil, err
		}
		out["devicePlugin"] = configMapValue(pluginConfigMap, pluginDefault, configs)
	}
	return out, nil
}

// configMapValue has the chart make a ConfigMap for one of its parts.
func configMapValue(name, byDefault string, data map[string]any) map[string]any {
	return map[string]any{"config": map[string]any{"name": name, "create": true, "default": byDefault, "data": data}}
}

// nvidiaDriver are the values of the driver itself. With several groups each has
// an object of its own, and the values name the first group's image for nothing
// but that they name one of the bundle.
func nvidiaDriver(drivers []DriverImage, onHost bool) map[string]any {
	switch {
	case len(drivers) == 0 && onHost:
		return map[string]any{"enabled": false}
	case len(drivers) == 0 || drivers[0].Repository == "":
		return nil
	}
	out := nvidiaImageValues(drivers[0])
	if len(drivers) > 1 {
		out["nvidiaDriverCRD"] = map[string]any{"enabled": true, "deployDefaultCR": false}
	}
	return out
}

// nvidiaImageValues say which driver image to use. An image for one kernel goes by
// its tag, whose end the operator adds itself and in place of which it takes no
// digest; all others go by digest.
func nvidiaImageValues(im DriverImage) map[string]any {
	out := map[string]any{
		"repository": path.Dir(im.Repository), "image": path.Base(im.Repository), "version": im.Digest,
		"usePrecompiled": im.Payload.Kind == inventory.Precompiled, "kernelModuleType": im.Payload.Modules,
	}
	if im.Payload.Kind == inventory.Precompiled {
		out["version"] = im.Payload.Driver
	}
	if im.PullSecret != "" {
		out["imagePullSecrets"] = []any{im.PullSecret}
	}
	return out
}

func nvidiaDriverObject(g inventory.Group, im DriverImage) map[string]any {
	selector := map[string]any{}
	for k, v := range g.NodeSelector {
		selector[k] = v
	}
	spec := nvidiaImageValues(im)
	spec["driverType"], spec["nodeSelector"] = "gpu", selector
	return map[string]any{
		"apiVersion": "nvidia.com/v1alpha1", "kind": DriverKind,
		"metadata": map[string]any{"name": g.Name}, "spec": spec,
	}
}

func nvidiaLabels(p site.Policy, got Assigned) map[string]string {
	out := map[string]string{}
	if got.Layout >= 0 {
		out[site.LabelMIG] = p.MIG.Layouts[got.Layout].Name()
	}
	if got.Slicing >= 0 {
		out[site.LabelPlugin] = p.TimeSlicing[got.Slicing].Name()
	}
	return out
}

// offerNVIDIA is what one GPU comes to offer: itself, or the parts that it is cut
// into.
func offerNVIDIA(p site.Policy, parts map[string]int) map[string]int64 {
	if len(parts) == 0 {
		return map[string]int64{site.WholeGPU: 1}
	}
	out := map[string]int64{}
	for profile, n := range parts {
		name := MIGResource(profile)
		if p.MIG.EffectiveStrategy() == site.MIGSingle {
			name = site.WholeGPU
		}
		out[name] += int64(n)
	}
	return out
}

// MIGResource is what the device plugin calls a profile with MIGMixed: a resource
// has no plus sign, 1g.10gb+me is nvidia.com/mig-1g.10gb.me.
func MIGResource(profile string) string { return partResource + strings.ReplaceAll(profile, "+", ".") }

// nvidiaMIGConfig is the configuration of the MIG manager with all layouts.
func nvidiaMIGConfig(p site.MIGPolicy) (string, error) {
	type entry struct {
		Devices string         `yaml:"devices"`
		Enabled bool           `yaml:"mig-enabled"`
		Parts   map[string]int `yaml:"mig-devices,omitempty"`
	}
	configs := map[string][]entry{migWhole: {{Devices: "all"}}}
	for _, l := range p.Layouts {
		configs[l.Name()] = []entry{{Devices: "all", Enabled: true, Parts: l.Profiles}}
	}
	return marshalConfig(map[string]any{"version": "v1", "mig-configs": configs})
}

// nvidiaPluginConfigs are the configurations of the device plugin by name.
func nvidiaPluginConfigs(p site.Policy) (map[string]any, error) {
	type shared struct {
		Name     string `yaml:"name"`
		Replicas int    `yaml:"replicas"`
	}
	configs := map[string]any{pluginDefault: map[string]any{"version": "v1"}}
	for _, s := range p.TimeSlicing {
		slicing := map[string]any{"resources": []shared{{s.Shared(), s.Replicas}}}
		configs[s.Name()] = map[string]any{"version": "v1", "sharing": map[string]any{"timeSlicing": slicing}}
	}
	out := map[string]any{}
	for name, config := range configs {
		text, err := marshalConfig(config)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}

func marshalConfig(v any) (string, error) {
	b, err := yaml.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("writing the configuration of GPUs: %w", err)
	}
	return string(b), nil
}
