package event

import "slices"

// CodeInfo is what holds for every finding of a code.
type CodeInfo struct {
	Code     string
	Severity Severity // where a finding has no reason for another
	Action   string   // what a person does about it, one sentence
}

// MaxAllowText bounds the match and the reason with which a stack allows
// findings, in bytes.
const MaxAllowText = 1024

// Codes of findings. Scripts and stack files name them: they do not change.
const (
	// what verify, serve and load find in heads and volumes; those of volumes are package bundle's
	CodeMissingVolume    = "missing-volume"
	CodeShortVolume      = "short-volume"
	CodeLongVolume       = "long-volume"
	CodeBadBlock         = "bad-block"
	CodeBadHeader        = "bad-header"
	CodeBadPadding       = "bad-padding"
	CodeUnreadable       = "unreadable"
	CodeBadCopy          = "bad-copy"
	CodeExtraVolume      = "extra-volume"
	CodeHeadInvalid      = "head-invalid"
	CodeNotTrusted       = "not-trusted"
	CodeMissingLedger    = "missing-ledger"
	CodeSignatureIgnored = "signature-ignored"
	CodeExpired          = "expired"
	CodeClock            = "clock"
	CodeSparseIndex      = "sparse-index"

	// what rendered objects would fetch from outside the site; a stack's allow names these
	CodeEgressDownload   = "egress/download"
	CodeEgressRemote     = "egress/remote"
	CodeEgressImage      = "egress/image"
	CodeEgressPullAlways = "egress/pull-always"
	CodeEgressCallHome   = "egress/call-home"
	CodeEgressMore       = "egress/more"

	// what templates ask a cluster; a stack's allow names it as well
	CodeLookup = "lookup"

	// what is another each time a chart is rendered; a stack's allow names it as well
	CodeChance = "chance"

	// what is unwise in a stack
	CodeMovingTag      = "moving-tag"
	CodeMovingRevision = "moving-revision"
	CodeNoReady        = "no-ready"
	CodeNoProfile      = "no-profile"
	CodeWideAllow      = "wide-allow"

	// the stack and the site file
	CodeUnknownComponent        = "unknown-component"
	CodeComponentNotOptional    = "component-not-optional"
	CodeNeededComponentDisabled = "needed-component-disabled"
	CodeCircularNeeds           = "circular-needs"
	CodeValuesWithoutRelease    = "values-without-release"
	CodeValues                  = "values"
	CodeRender                  = "render"
	CodeReferenceStrategy       = "reference-strategy"
	CodeReferenceKept           = "reference-kept"
	CodeImageAmbiguous          = "image-ambiguous"
	CodeImageOutsideBundle      = "image-outside-bundle"

	// the site registry and the way from nodes to it
	CodeRegistryUnreachable = "registry-unreachable"
	CodeRegistryUntrusted   = "registry-untrusted"
	CodeRegistryDisk        = "registry-disk"
	CodeImageNotInRegistry  = "image-not-in-registry"
	CodeMixedPlatforms      = "mixed-platforms"
	CodePullSecret          = "pull-secret"
	CodeMirrorPullSecret    = "mirror-pull-secret"
	CodePlainLogin          = "plain-login"
	CodeNodesTrust          = "nodes-trust"
	CodeCRIOReload          = "crio-reload"
	CodeNodeRuntime         = "node-runtime"
	CodeNoAgent             = "no-agent"
	CodeAgentPlatform       = "agent-platform"
	CodeAgentPodSecurity    = "agent-pod-security"
	CodeNoMirrorSets        = "no-mirror-sets"

	// the cluster
	CodeClusterVersion        = "cluster-version"
	CodeChartKubernetes       = "chart-kubernetes"
	CodeAPIRemoved            = "api-removed"
	CodeKindUnknown           = "kind-unknown"
	CodeCRDTooLate            = "crd-too-late"
	CodeCRDVersionLost        = "crd-version-lost"
	CodeCRDForeign            = "crd-foreign"
	CodeForeignRelease        = "foreign-release"
	CodeObjectExists          = "object-exists"
	CodeObjectTwice           = "object-twice"
	CodeCRDTwice              = "crd-twice"
	CodeReadyElsewhere        = "ready-elsewhere"
	CodeWebhookOrder          = "webhook-order"
	CodeNamespaceTerminating  = "namespace-terminating"
	CodeNoStorageClass        = "no-storage-class"
	CodeNoDefaultStorageClass = "no-default-storage-class"
	CodeQuota                 = "quota"
	CodeQuotaUnstated         = "quota-unstated"
	CodeLimitRange            = "limit-range"
	CodePodSecurity           = "pod-security"
	CodeSecretValue           = "secret-value"
	CodeRBACEscalation        = "rbac-escalation"
	CodeNotAllowed            = "not-allowed"
	CodeNotLookedAt           = "not-looked-at"
	CodeWebhookUnanswered     = "webhook-unanswered"
	CodeClockSkew             = "clock-skew"

	// nodes and their GPUs
	CodeNoUsableNode       = "no-usable-node"
	CodeNodePlatform       = "node-platform"
	CodeNodeCondition      = "node-condition"
	CodeNodeDisk           = "node-disk"
	CodeNodeLabelTaken     = "node-label-taken"
	CodeGPUCapacity        = "gpu-capacity"
	CodeGPURequest         = "gpu-request"
	CodeModelMemory        = "model-memory"
	CodeModelContext       = "model-context"
	CodeModelName          = "model-name"
	CodeNoGPUNodes         = "no-gpu-nodes"
	CodeGPUsHeld           = "gpus-held"
	CodeQueueNamespaces    = "queue-namespaces"
	CodeGPUBySite          = "gpu-by-site"
	CodeDriverNotInBundle  = "driver-not-in-bundle"
	CodeNoDriverPayload    = "no-driver-payload"
	CodeDriverImageMissing = "driver-image-missing"
	CodeDriverPackages     = "driver-packages"
	CodeNoGPUOperator      = "no-gpu-operator"
	CodeDriverNote         = "driver-note"
	CodeDriverPin          = "driver-pin"
	CodeUnknownDevice      = "unknown-device"
	CodeUnhealthyDevices   = "unhealthy-devices"
	CodeSourcesDisagree    = "sources-disagree"
	CodeGPUPolicyProduct   = "gpu-policy-product"
	CodeGPUPolicyNode      = "gpu-policy-node"
	CodeGPUPolicyUnused    = "gpu-policy-unused"
	CodeNoMIG              = "no-mig"
	CodeMIGProfile         = "mig-profile"
	CodeMIGDoesNotFit      = "mig-does-not-fit"
	CodeMIGStrategy        = "mig-strategy"
	CodeMIGTimeSlicing     = "mig-time-slicing"
	CodeProbeSilent        = "probe-silent"
	CodeProbeLeft          = "probe-left"
)

// codes is the one table of findings' codes.
var codes = []CodeInfo{
	{CodeMissingVolume, Error, "Copy the volume from the source medium again."},
	{CodeShortVolume, Error, "Copy the volume from the source medium again."},
	{CodeLongVolume, Error, "Copy the volume from the source medium again."},
	{CodeBadBlock, Error, "Copy the volume from the source medium again."},
	{CodeBadHeader, Error, "Copy the volume from the source medium again."},
	{CodeBadPadding, Error, "Copy the volume from the source medium again."},
	{CodeUnreadable, Error, "Copy the volume from the source medium again, and check the disk if it stays unreadable."},
	{CodeBadCopy, Warn, "Replace the damaged copy with the good one."},
	{CodeExtraVolume, Warn, "Remove the volume: it is not part of the bundle."},
	{CodeHeadInvalid, Error, "Copy the head from the source medium again."},
	{CodeNotTrusted, Error, "Give the public key of the bundle's signer with --key."},
	{CodeMissingLedger, Error, "Copy the ledger file from the source medium again."},
	{CodeSignatureIgnored, Notice, "Nothing, if the other signatures are those that you expect."},
	{CodeExpired, Error, "Ask the sender for a newer bundle."},
	{CodeClock, Error, "Set this machine's clock."},
	{CodeSparseIndex, Warn, "Allow sparse indexes in the registry, or resolve with --all-platforms."},

	{CodeEgressDownload, Error, "Use an image that holds what is fetched, or turn the download off in the chart's values."},
	{CodeEgressRemote, Error, "Bring the content in the stack, or turn its use off in the chart's values."},
	{CodeEgressImage, Error, "Add the image to images of the component."},
	{CodeEgressPullAlways, Warn, "Set the pull policy to IfNotPresent in the chart's values."},
	{CodeEgressCallHome, Error, "Turn the check or the report off in the chart's values."},
	{CodeEgressMore, Error, "Settle the findings that are listed, then run again."},

	{CodeLookup, Error, "Turn the lookup off in the chart's values, or allow it in the stack with a reason."},
	{CodeChance, Error, "Give the field in the chart's values, or allow it in the stack with a reason."},

	{CodeMovingTag, Warn, "Name a version or a digest of the image in the stack."},
	{CodeMovingRevision, Warn, "Name a commit of the model in the stack."},
	{CodeNoReady, Warn, "Say under ready in the stack when the component is."},
	{CodeWideAllow, Warn, "Name the template or the text under match, so that what comes later is found again."},
	{CodeNoProfile, Warn, "Add the component to a profile of the stack."},

	{CodeUnknownComponent, Error, "Correct the component's name in the site file."},
	{CodeComponentNotOptional, Error, "Enable the component in the site file, or make it optional in the stack."},
	{CodeNeededComponentDisabled, Error, "Enable the component, or leave out those that need it."},
	{CodeCircularNeeds, Error, "Break the circle of needs in the stack."},
	{CodeValuesWithoutRelease, Error, "Correct the release's name in the site file."},
	{CodeValues, Error, "Correct the values in the site file."},
	{CodeRender, Error, "Correct the values in the site file."},
	{CodeReferenceStrategy, Error, "Choose among rewrite, mirror and idms in the site file."},
	{CodeReferenceKept, Warn, "Set references: [mirror, rewrite] in the site file."},
	{CodeImageAmbiguous, Error, "Name the image by digest in the values."},
	{CodeImageOutsideBundle, Error, "Add the image to the stack, or change the value that brings it in."},

	{CodeRegistryUnreachable, Error, "Start the site registry, or serve the bundle with caisson serve."},
	{CodeRegistryUntrusted, Error, "Name the CA of the registry's certificate as registry.caFile in the site file."},
	{CodeRegistryDisk, Notice, "Check the registry's free space before the load."},
	{CodeImageNotInRegistry, Error, "Load the bundle into the site registry with caisson load."},
	{CodeMixedPlatforms, Error, "Use a registry that takes sparse indexes, or resolve with --all-platforms."},
	{CodePullSecret, Error, "Create the pull secret with kubectl create secret docker-registry, or correct registry.pullSecretRef in the site file."},
	{CodeMirrorPullSecret, Warn, "Set references: [mirror, rewrite], or let the registry be read without a password."},
	{CodePlainLogin, Warn, "Give the registry TLS, and set caFile instead of plainHTTP in the site file."},
	{CodeNodesTrust, Warn, "Put the CA file on each node that does not trust the registry yet."},
	{CodeCRIOReload, Warn, "Reload CRI-O on its nodes once the node agent runs."},
	{CodeNodeRuntime, Warn, "Update the node's container runtime, or use references: [rewrite]."},
	{CodeNoAgent, Error, "Set agent: true in the stack and pack again, or use references: [rewrite]."},
	{CodeAgentPlatform, Error, "Pack with the caisson binary for the nodes' platform, or use references: [rewrite]."},
	{CodeAgentPodSecurity, Error, "Label the agent's namespace with the Pod Security level privileged, or use references: [rewrite]."},
	{CodeNoMirrorSets, Error, "Use references: [mirror] or [rewrite]: idms is OpenShift's."},

	{CodeClusterVersion, Warn, "Add the cluster's version to kubernetes.versions in the stack and resolve again."},
	{CodeChartKubernetes, Error, "Upgrade the cluster, or take another version of the chart into the stack."},
	{CodeAPIRemoved, Error, "Take a version of the chart whose objects this Kubernetes serves."},
	{CodeKindUnknown, Warn, "Add the kind's definition to the stack, or need the component that brings it."},
	{CodeCRDTooLate, Error, "Add the component that brings the definition to needs: in the stack."},
	{CodeCRDVersionLost, Error, "Write the stored objects anew in a version that the definition keeps."},
	{CodeCRDForeign, Warn, "Leave the definition out, or remove the tool that keeps it now."},
	{CodeForeignRelease, Error, "Remove the other tool's release first."},
	{CodeObjectExists, Error, "Remove or rename the object, or leave the component out."},
	{CodeObjectTwice, Error, "Turn the object off in the values of one of the two components."},
	{CodeReadyElsewhere, Warn, "Give the condition under ready the namespace of the object in the stack, and pack again."},
	{CodeCRDTwice, Warn, "Turn the definition off in the values of one of the two components."},
	{CodeWebhookOrder, Notice, "Nothing: the plan orders the components."},
	{CodeNamespaceTerminating, Error, "Wait until the namespace is deleted, then run again."},
	{CodeNoStorageClass, Error, "Name a storage class that the cluster has."},
	{CodeNoDefaultStorageClass, Error, "Mark a storage class as the default, or name one in the values."},
	{CodeQuota, Error, "Raise the quota, or lower requests or replicas in the values."},
	{CodeQuotaUnstated, Error, "State the container's resources in the values."},
	{CodeLimitRange, Error, "Set the container's resources within the namespace's LimitRange."},
	{CodePodSecurity, Error, "Set the securityContext in the values, or change the namespace's Pod Security level."},
	{CodeSecretValue, Error, "Write the value as text, in quotes, in the values."},
	{CodeRBACEscalation, Error, "Use a kubeconfig whose user has the rights that the stack hands out."},
	{CodeNotAllowed, Error, "Have the right granted to the operator."},
	{CodeNotLookedAt, Warn, "Use a kubeconfig whose user may read it, and run preflight again."},
	{CodeWebhookUnanswered, Error, "Bring the webhook's server back, or delete its configuration."},
	{CodeClockSkew, Warn, "Set both clocks by the same time source."},

	{CodeNoUsableNode, Error, "Add a node of a platform that the bundle holds."},
	{CodeNodePlatform, Warn, "Add the node's platform to the stack, or taint the node."},
	{CodeNodeCondition, Warn, "Look at the node with kubectl describe node."},
	{CodeNodeDisk, Warn, "Give the node a larger disk for images."},
	{CodeNodeLabelTaken, Error, "Remove the label, or take the node out of gpu.policy."},
	{CodeGPUCapacity, Warn, "Lower the replicas, share GPUs, or add nodes."},
	{CodeGPURequest, Warn, "Lower what the pod asks for, or add a node with as many GPUs."},
	{CodeModelMemory, Warn, "Serve the model over several nodes, or carry a smaller one."},
	{CodeModelContext, Notice, "Bound the length of requests in the model's server, or add a GPU with more memory."},
	{CodeModelName, Warn, "Give each model a name of its own in the stack and pack again."},
	{CodeGPUsHeld, Notice, "Serve fewer models, or give pods a nodeSelector, where jobs should have more GPUs."},
	{CodeQueueNamespaces, Notice, "Name more namespaces in the values of what keeps jobs inside the site."},
	{CodeNoGPUNodes, Notice, "Write an inventory with caisson nodes and name it under gpu.nodes in the site file."},
	{CodeGPUBySite, Notice, "Nothing, if the site's values are meant."},
	{CodeDriverNotInBundle, Error, "Resolve with the site's node inventory and pack again."},
	{CodeNoDriverPayload, Error, "Put the node on a kernel that has a driver, or install a driver on the host."},
	{CodeDriverImageMissing, Notice, "Nothing: another driver image takes its place."},
	{CodeDriverPackages, Warn, "Keep a package repository at the site, or use a kernel with a ready image."},
	{CodeNoGPUOperator, Notice, "Add the operator's chart to the stack, or install drivers on the hosts."},
	{CodeDriverNote, Notice, "Read it; nothing has to be done."},
	{CodeDriverPin, Error, "Name a driver branch that the catalogue has, or remove the pin."},
	{CodeUnknownDevice, Notice, "Nothing, if the device needs no driver of the bundle."},
	{CodeUnhealthyDevices, Warn, "Look at the log of the device plugin's pod on the node."},
	{CodeSourcesDisagree, Warn, "Restart the labeller's pod on the node, then run caisson nodes again."},
	{CodeGPUPolicyProduct, Error, "Write the product as caisson nodes does."},
	{CodeGPUPolicyNode, Error, "Correct the node's name, or name it once."},
	{CodeGPUPolicyUnused, Warn, "Remove the entry of the policy, or correct it."},
	{CodeNoMIG, Error, "Remove the MIG layout, or share the GPU in time."},
	{CodeMIGProfile, Error, "Name profiles that the GPU has."},
	{CodeMIGDoesNotFit, Error, "Ask for fewer or smaller parts of the GPU."},
	{CodeMIGStrategy, Error, "Choose the MIG strategy that fits the layouts."},
	{CodeMIGTimeSlicing, Error, "Share a resource that the MIG layout gives."},
	{CodeProbeSilent, Warn, "Look at the node, or run caisson nodes --local on it."},
	{CodeProbeLeft, Warn, "Delete the probe's DaemonSet."},
}

// Codes lists every code, in the order of the table.
func Codes() []CodeInfo { return slices.Clone(codes) }

// EgressCodes are those that a stack can allow.
func EgressCodes() []string {
	return []string{CodeEgressDownload, CodeEgressRemote, CodeEgressImage, CodeEgressPullAlways, CodeEgressCallHome, CodeEgressMore, CodeLookup, CodeChance}
}
