package helm

import (
	"encoding/json"
	"fmt"

	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
)

// maxValues bounds a values file.
const maxValues = 8 << 20

// ParseValues reads a values file as Helm does (`helm install -f`). Whole
// numbers come back as int64, so that writing and reading the values again
// leaves them unchanged.
func ParseValues(data []byte) (map[string]any, error) {
	if len(data) > maxValues {
		return nil, fmt.Errorf("parsing values: %d bytes, at most %d", len(data), maxValues)
	}
	var v map[string]any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("parsing values: %w", err)
	}
	if v == nil {
		v = map[string]any{}
	}
	return lock.WholeNumbers(v).(map[string]any), nil
}

// NativeValues returns a deep copy of values with the Go types that Helm itself
// would have read from a values file (every number a float64), which templates
// can tell apart.
func NativeValues(values map[string]any) (map[string]any, error) {
	if len(values) == 0 {
		return map[string]any{}, nil
	}
	data, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("encoding values: %w", err)
	}
	v, err := chartutil.ReadValues(data)
	if err != nil {
		return nil, fmt.Errorf("reading values: %w", err)
	}
	return v, nil
}

// ReadValues are the values of a chart of a stack: of each stack that it extends and then
// its own, the values files, later over earlier, and over them what the stack says itself.
func ReadValues(ch *stack.Chart) (map[string]any, error) {
	merged := map[string]any{}
	for _, layer := range ch.ValuesLayers() {
		for _, name := range layer.Files {
			data, err := layer.From.Read(name, maxValues)
			if err != nil {
				return nil, fmt.Errorf("reading values file: %w", err)
			}
			v, err := ParseValues(data)
			if err != nil {
				return nil, fmt.Errorf("reading values file %s: %w", name, err)
			}
			merged = lock.MergeValues(merged, v)
		}
		merged = lock.MergeValues(merged, layer.Values)
	}
	return merged, nil
}
