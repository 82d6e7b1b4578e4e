package plan

// Bound are the facts of a cluster that decided something in a plan, beside its
// version and its releases. Lists are sorted.
type Bound struct {
	Platforms      []string `json:"platforms,omitempty"`           // os/arch of the nodes
	Runtimes       []string `json:"runtimes,omitempty"`            // of the nodes, by name
	Namespaces     []string `json:"namespaces,omitempty"`          // of components, that were there
	DefaultClass   string   `json:"defaultStorageClass,omitempty"` // where volumes of the plan ask for it
	StorageClasses []string `json:"storageClasses,omitempty"`      // that volumes of the plan, or the site, name
	Definitions    []string `json:"definitions,omitempty"`         // met: objects of the plan are of them and it does not bring them
}
