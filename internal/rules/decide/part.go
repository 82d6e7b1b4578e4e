package decide

import (
	"time"

	"github.com/caisson/caisson/internal/api/object"
)

// Part is one rendered object, as far as the checks look at it.
type Part struct {
	object.Ref        // its namespace is "" where the kind has none
	Resource   string // deployments.apps; "" where it is not known
	Template   string // or the manifest's item
	Line       int
	Copies     int64        // pods it runs at once
	Containers []Container  // of each of those pods
	Breaches   []Breach     // of the Pod Security Standards, by those pods
	Within     []Container  // of pods that its controller makes, as far as its fields look like some
	Standing   int64        // pods that stay until somebody ends them, by Copies or its controller
	Nodes      Labels       // that those pods want of their nodes
	Claims     []Claim      // volumes it asks for
	Counts     []string     // names under which quotas count it: "services", "count/services"
	Exists     bool         // it is there already, so a quota counts it already
	Hook       bool         // Helm makes it for a while, beside the release
	Faults     []string     // fields of a Secret that no API server takes: "data.a is not base64"
	Defines    *DefinesFact // what a custom resource definition brings; else nil
	Content    string       // a mark of what it says, where several parts of its component make it
}

// Container is what one container states, in thousandths by resource name:
// cpu, memory, ephemeral-storage, nvidia.com/gpu.
type Container struct {
	Name     string
	Init     bool
	Requests map[string]int64
	Limits   map[string]int64
}

// Labels are those of nodes.
type Labels map[string]string

// EveryNode stands for a number of pods that the number of nodes decides.
const EveryNode = -1

// Breach is one rule of the Pod Security Standards that a pod does not keep.
type Breach struct {
	Level string // the mildest level that forbids it: baseline or restricted
	What  string
}

// Claim is one volume that is asked for.
type Claim struct {
	Name  string
	Class *string // nil: the default
	Size  int64   // bytes
	Count int64   // how many of it
}

// DefinesFact is what a custom resource definition serves.
type DefinesFact struct {
	Group, Kind string
	Versions    []string // served or kept
	Served      []string
	Content     string // a mark of what it says, where several parts define the kind
}

// NodeFact is one node.
type NodeFact struct {
	Name     string
	Platform string   // os/arch
	Ready    bool     // and open for new pods
	Problems []string // conditions that are not as they should be: "DiskPressure: disk is full"
	Cordoned bool
	Disk     int64  // bytes for images and pods; 0 where it does not say
	Runtime  string // containerd://2.1.4
}

// SpaceFact is a namespace that the plan uses and that exists.
type SpaceFact struct {
	Name        string
	Terminating bool
	Labels      map[string]string
	Enforce     string // level of Pod Security that is enforced; "" is none
	Quotas      []QuotaFact
	Ranges      []RangeFact
}

// QuotaFact is a ResourceQuota that holds for everything in its namespace, in
// thousandths.
type QuotaFact struct {
	Name       string
	Hard, Used map[string]int64
}

// RangeFact is what a LimitRange says of containers, in thousandths.
type RangeFact struct {
	Name             string
	Requests, Limits map[string]int64 // for containers that state none
	Min, Max         map[string]int64
}

// DefinitionFact is a custom resource definition that the plan brings and that
// exists.
type DefinitionFact struct {
	Name    string
	Owner   string   // component of the plan whose definition is compared
	Stored  []string // versions in which objects lie in the cluster's store
	Keeper  string   // who keeps it, in words; "" where nobody says or it is ours
	Refused string   // why it cannot be applied over theirs; "" where it can
}

// TakenFact is an object of the plan that exists and is somebody else's.
type TakenFact struct {
	Component string
	Object    string // Deployment web/front
	Place     string // the template that renders it
	Keeper    string // who keeps it, in words
	Release   bool   // a release of the plan renders it
	Refused   string // why it cannot be applied over theirs; "" where it can
	Resource  string // deployments.apps
	Namespace string
	Name      string
}

// GuardFact is an admission webhook of the plan itself that must answer before
// something of another component can be made.
type GuardFact struct {
	Component string // that brings it
	Config    string // ValidatingWebhookConfiguration NAME
	Webhook   string
	Guards    map[string][]string // objects, by the component that makes them
}

// WebhookFact is an admission webhook that must answer and cannot.
type WebhookFact struct {
	Config      string // ValidatingWebhookConfiguration NAME
	Webhook     string
	Service     string // NAMESPACE/NAME; "" where it is reached by URL
	Problem     string // of the service: does not exist, has no ready endpoint, does not answer
	Matches     []string
	Conditional bool   // it has conditions that can only be told by the server
	Ours        bool   // the plan brings its service
	Component   string // of the plan that brings the configuration; "" for none
}

// EscalationFact is a role of the plan that gives what the operator lacks.
type EscalationFact struct {
	Role   string // ClusterRole NAME, or the binding that leads to it
	Rights []string
	Verb   string // escalate or bind
}

// ClusterState is what the checks of the cluster look at. The zero value says
// nothing, and nothing is found in it.
type ClusterState struct {
	Nodes       []NodeFact
	Spaces      map[string]SpaceFact
	Serves      map[string]bool // "apps/v1/Deployment", "v1/Pod"; nil: not asked
	Definitions []DefinitionFact
	Taken       []TakenFact
	Webhooks    []WebhookFact
	Guards      []GuardFact
	Escalations []EscalationFact
	Skew        time.Duration     // of the API server's clock before this one
	Unread      []string          // what the operator may not look at, in words
	User        string            // the operator, as the server calls it
	Grants      map[string]string // by the words of Facts.Denied: the command that shows it
}
