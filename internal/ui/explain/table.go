package explain

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/client/agent"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/client/keeper"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/kustomize"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/nodes"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/report"
	"github.com/caisson/caisson/internal/command/resolve"
	"github.com/caisson/caisson/internal/command/stacks"
	"github.com/caisson/caisson/internal/rules/rendering"
)

const copyAgain = "copy the named volumes again from the source, then: caisson verify PATH... --key FILE.pub"

// table is read from the top: what says more stands before what says less.
var table = []row{
	{is: context.Canceled, sentence: "Interrupted", code: Interrupted,
		hint: "run the same command again: it continues where it stopped"},

	// A lock that somebody else packed; the rows after it are for one's own files.
	{as: isUnreadableLock, sentence: "The bundle's lock cannot be read", code: Failed,
		hint: "get the bundle again from whoever packed it, or use the caisson binary that came with it; caisson version shows this one"},

	// Files that people write.
	{as: isType[*yamlfile.Error], sentence: "The file has mistakes", code: Failed,
		hint: "correct the lines named above; caisson schema stack|upstreams|site|lock|nodes lists the fields"},
	{is: yamlfile.ErrNoDocument, sentence: "The file is not of the kind this command reads", code: Failed,
		hint: "check apiVersion and kind at its top; caisson schema stack|upstreams|site|lock|nodes prints each kind"},

	{is: stack.ErrNoStack, sentence: "There is no such stack", code: Failed,
		hint: "caisson stack list shows those that come with caisson; a file is named by its path"},
	{is: stack.ErrNoProfile, sentence: "The stack has no such profile", code: Failed,
		hint: "caisson stack show STACK lists its profiles"},
	{is: stacks.ErrExists, sentence: "The file is there already", code: Failed,
		hint: "name another with --out, or move that one away"},

	// Trust.
	{is: sign.ErrNoKey, sentence: "No public key was given", code: Usage,
		hint: "add --key FILE.pub, the public key of whoever packed the bundle"},
	{is: sign.ErrPassword, sentence: "The password does not open the key", code: Failed,
		hint: "set CAISSON_PASSWORD (or COSIGN_PASSWORD), or unset it to be asked"},
	{is: sign.ErrKeyFormat, sentence: "The key file cannot be used", code: Failed,
		hint: "give the .key file where something is signed and the .pub file where it is checked; caisson keys generate --out DIR makes both"},
	{is: bundle.ErrNoLedger, sentence: "The bundle's ledger file is missing", code: Damaged,
		hint: "copy NAME.ledger.json again from the source, to where NAME.head.tar lies"},
	{is: bundle.ErrNotTrusted, sentence: "The bundle is not trusted", code: NotTrusted,
		hint: "compare the key with the one that signed: caisson inspect PATH shows the signers; do not use the bundle until this is settled"},
	{is: cargo.ErrExpired, sentence: "The bundle has expired", code: NotTrusted,
		hint: "get a newer bundle, or set this machine's clock (date -u shows it); to use it on purpose add --allow-expired to serve, load, plan or install"},
	{is: cargo.ErrClock, sentence: "The clock says that the bundle is not made yet", code: NotTrusted,
		hint: "set this machine's clock: date -u shows it"},
	{is: pack.ErrUnproven, sentence: "The statement to be signed is not proven", code: NotTrusted,
		hint: "give the first signer's public key with --countersign FILE.pub, so that the statement you add your name to is proven"},
	{as: isAny(sign.ErrUnknownKey, sign.ErrSignature, sign.ErrPredicate, sign.ErrEnvelope), sentence: "The signature does not count", code: NotTrusted,
		hint: "get the signature file and the public key again from whoever packed the bundle"},

	// The bundle on its medium.
	{is: cargo.ErrNoBundle, sentence: "No bundle is there", code: Damaged,
		hint: "give the directory that holds NAME.head.tar; volumes may lie in further directories"},
	{is: bundle.ErrNoSpace, sentence: "The disk is too small for the bundle", code: Failed,
		hint: "free space there, or give a larger disk with -o DIR; nothing was downloaded yet"},
	{is: bundle.ErrOtherJob, sentence: "The directory holds another bundle's work", code: Failed,
		hint: "give an empty directory with -o DIR, or the lock file and --volume-size that were used there"},
	{is: bundle.ErrStray, sentence: "The directory holds volumes that nothing accounts for", code: Failed,
		hint: "move them away, or give an empty directory with -o DIR"},
	{is: bundle.ErrBusy, sentence: "Another caisson is writing in the directory", code: Failed,
		hint: "wait until it is done, or give another directory with -o DIR"},
	{is: bundle.ErrVersion, sentence: "The bundle was made by a newer caisson", code: Failed,
		hint: "use the caisson binary that came with the bundle; caisson version shows this one"},
	{is: bundle.ErrDelta, sentence: "The bundle is a delta, which this caisson cannot use", code: Failed,
		hint: "get the complete bundle"},
	{as: isDamaged,
		sentence: "The bundle is damaged or incomplete", code: Damaged, hint: copyAgain},
	{is: agent.ErrNotStatic, sentence: "This caisson cannot be the node agent", code: Failed,
		hint: "resolve and pack with a released caisson for Linux, or one built with CGO_ENABLED=0; or set agent: false in the stack"},
	{is: pack.ErrOtherProgram, sentence: "The lock was written by another caisson", code: Failed,
		hint: "pack with the caisson that resolved, or resolve again with this one: caisson stack upgrade shows what changes"},
	{is: pack.ErrLocalChanged, sentence: "A file beside the stack changed since it was resolved", code: Failed,
		hint: "resolve again, then pack"},
	{is: pack.ErrNoStatement, sentence: "There is nothing to sign", code: Failed,
		hint: "get the bundle's signature files, and the binaries they name, again from whoever packed it"},
	{is: stack.ErrDiffers, sentence: "The upstream gives other content than the stack says", code: Failed,
		hint: "do not use it: ask whoever publishes it which of the two is right; only when they name the new one, write it into the stack and resolve again"},
	{as: isAny(pack.ErrUpstreamChanged, bundle.ErrSize, bundle.ErrDigestMismatch, fetch.ErrSize), sentence: "The upstream no longer has what the lock says", code: Failed,
		hint: "pin what is there now: caisson resolve -f STACK.yaml -o LOCK.yaml, then pack again"},
	{is: cargo.ErrSeveral, sentence: "The path holds more than one bundle", code: Usage,
		hint: "give the head file of the one that is meant: DIR/NAME.head.tar"},
	{is: bundle.ErrUnfinished, sentence: "The bundle is not complete and was not sealed", code: Failed,
		hint: "run the same pack again: it fetches only what is missing"},

	{is: helm.ErrWorker, sentence: "A chart brought down the process that renders it", code: Failed,
		hint: "its templates use more memory, stack or time than any chart should: look at what their author changed, or take another version"},

	{is: kustomize.ErrWorker, sentence: "A kustomization brought down the process that builds it", code: Failed,
		hint: "it uses more memory, stack or time than any should: look at what its author changed, or take another version"},
	{is: kustomize.ErrRemote, sentence: "A kustomization names something outside its archive", code: Failed,
		hint: "say under remotes of that manifest in the stack where it comes from, and resolve again"},
	{is: pack.ErrBuiltOtherwise, sentence: "This caisson builds a manifest otherwise than the lock says", code: Failed,
		hint: "resolve again with this caisson, or pack with the version that resolved; --reuse DIR takes it from a bundle that has it"},

	{as: isAny(lock.ErrTooLarge, ledger.ErrTooLarge), sentence: "The stack is too large for one bundle", code: Failed,
		hint: "carry it as several stacks: each gives a lock and a bundle of its own"},

	// Upstreams.
	{is: hub.ErrGated, sentence: "The model is gated", code: Failed,
		hint: "ask for access on the model's page on the hub, set HF_TOKEN to a token of the account that has it, then run again"},
	{is: hub.ErrDenied, sentence: "The model hub refuses access", code: Failed,
		hint: "set HF_TOKEN to a token that may read the model"},
	{as: isDenied, sentence: "The upstream refuses access", code: Failed,
		hint: "log in to the registry (docker login HOST), or put the host into ~/.netrc"},
	{as: isAbsentUpstream, sentence: "The upstream does not have it", code: Failed,
		hint: "check the name and version in the stack; a mirror is set in the file given with --upstreams"},
	{is: resolve.ErrCode, sentence: "A model comes with files that can run code", code: Failed,
		hint: "leave them out with the model's exclude; or accept each by its name: allow: [{file: NAME, reason: WHY}] of the model"},
	{is: resolve.ErrWeights, sentence: "The files of a model contradict each other", code: Failed,
		hint: "take another revision, or carry what is missing with include; if it loads all the same, accept the index: allow: [{file: NAME, reason: WHY}] of the model"},
	{is: resolve.ErrImports, sentence: "A model names code that would be missing at the site", code: Failed,
		hint: "carry it: allow: [{file: NAME.py, reason: WHY}] of the model; if the server needs none of it, allow the file that names it: allow: [{file: config.json, reason: WHY}]"},
	{is: resolve.ErrServe, sentence: "A model lacks what its server asks for", code: Failed,
		hint: "add the files to its include, or take a revision that has them; serve: completion or embed demands less, serve: none nothing"},
	{is: resolve.ErrManyGGUF, sentence: "A model is there in several precisions", code: Failed,
		hint: "choose one in the stack: include: [\"*Q4_K_M*.gguf\", \"*.md\"] of the model"},
	{is: resolve.ErrDigest, sentence: "An upstream's content is not what it announces", code: Failed,
		hint: "do not use it: check what stands between you and it (proxy, mirror), and ask whoever publishes it"},
	{as: isAny(registry.ErrDigest, registry.ErrAmbiguous, registry.ErrMediaType, hub.ErrAnswer), sentence: "The upstream's answer cannot be accepted", code: Failed,
		hint: "check what stands between you and it (proxy, mirror); then run again"},
	{is: registry.ErrReference, sentence: "A reference is malformed", code: Failed,
		hint: "write it as HOST/PATH:TAG or HOST/PATH@sha256:..."},
	{as: isAny(fetch.ErrStalled, fetch.ErrShort, fetch.ErrStatus), sentence: "The upstream failed again and again", code: Failed,
		hint: "run the same command again: what is complete is not fetched twice"},

	{is: resolve.ErrEgress, sentence: "What the stack renders would call out of a closed site", code: Failed,
		hint: "settle each finding above: carry the image, change the chart's values, or accept it in the stack: allow: [{code: CODE, match: PATTERN, reason: WHY}] of the component"},
	{is: resolve.ErrLookup, sentence: "A chart would read in the cluster what is not its own", code: Failed,
		hint: "settle each finding above: change the chart's values, or accept it in the stack: allow: [{code: lookup, match: \"v1/Namespace NAME\", reason: WHY}] of the component"},
	{is: resolve.ErrChance, sentence: "A chart leaves to chance what is installed", code: Failed,
		hint: "settle each finding above: give the field in the chart's values, or accept it in the stack: allow: [{code: chance, match: \"KIND NAMESPACE/NAME FIELD\", reason: WHY}] of the component"},
	{is: rendering.ErrUnsteady, sentence: "A chart renders other objects each time", code: Failed,
		hint: "give what decides the names above in the chart's values: a plan has to say what will be installed"},

	// The cluster.
	{is: kube.ErrConfig, sentence: "The kubeconfig does not lead to a cluster", code: Failed,
		hint: "name one with --kubeconfig FILE or KUBECONFIG, and a context that it has with --context NAME"},
	{is: kube.ErrUnreachable, sentence: "The cluster does not answer", code: Failed,
		hint: "check with: kubectl get nodes; choose a cluster with --kubeconfig FILE and --context NAME"},
	{as: isAny(kube.ErrLocked, kube.ErrLeaseLost), sentence: "Another run is changing this cluster", code: Failed,
		hint: "wait until it is done, look with: caisson status, then run again"},
	{is: kube.ErrForeign, sentence: "An object in the cluster belongs to somebody else", code: Failed,
		hint: "remove or rename it there, or leave the component out in the site file"},
	{is: install.ErrPlanStale, sentence: "The plan does not fit this cluster", code: Preflight,
		hint: "make it again: caisson plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json"},
	{is: install.ErrBundleMismatch, sentence: "The bundle is another than the plan's", code: Preflight,
		hint: "give the right one with --bundle PATH, or plan again"},
	{is: plan.ErrUnfit, sentence: "The plan does not fit the bundle", code: Preflight,
		hint: "do not use it; make it again: caisson plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json"},
	{is: install.ErrOtherKey, sentence: "The bundle is not signed by a key of the plan", code: NotTrusted,
		hint: "give the key that the plan was made with, or make the plan again with the one to trust"},
	{is: helm.ErrUnplannedCRD, sentence: "A chart brings a definition that the plan does not have", code: Preflight,
		hint: "make the plan again; if it is the same, the chart renders it only on a live cluster: move it into a manifest of the stack and pack again"},
	{is: install.ErrRendering, sentence: "A chart renders something else than the plan lists", code: Preflight,
		hint: "make the plan again and look at what it lists; if it is refused again, the chart decides by what a plan cannot see: ask its author, or take another version"},
	{is: install.ErrOlder, sentence: "A newer bundle was installed here before", code: NotTrusted,
		hint: "install the newer one; to go back to what there was before it: caisson rollback; to put the older one over it on purpose, add --allow-older"},
	{is: install.ErrImages, sentence: "The site registry lacks images of the plan", code: Preflight,
		hint: "caisson load PATH... --key FILE.pub --registry HOST[:PORT][/PREFIX]"},
	{is: install.ErrLogin, sentence: "The nodes cannot log in to the site registry", code: Preflight,
		hint: "create the pull secret as named above, then run the same command again; caisson plan lists all that is missing"},
	{is: install.ErrAuthority, sentence: "The registry's CA file is another than planned", code: Preflight,
		hint: "plan again: caisson plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json"},
	{is: keeper.ErrConflict, sentence: "The node's registry mirrors are not as they should be", code: Failed,
		hint: "settle on the node what is named above; the agent looks again every 15 seconds"},
	{is: install.ErrUntrusted, sentence: "A node does not trust the site registry's certificate", code: Failed,
		hint: "put the registry's CA on that node as /etc/containerd/certs.d/HOST:PORT/ca.crt (CRI-O: /etc/containers/certs.d/HOST:PORT/ca.crt), then run the same command again: it continues"},
	{is: install.ErrPull, sentence: "A node cannot pull an image", code: Failed,
		hint: "see that the site's registry answers from the nodes, then run the same command again: it continues"},
	{is: kube.ErrStoredVersion, sentence: "A definition would drop a version that objects are stored in", code: Preflight,
		hint: "store them anew in a version that stays, take the old one out of status.storedVersions of the definition, then run again"},
	{is: kube.ErrWebhook, sentence: "A webhook does not answer", code: Drift,
		hint: "look at the pods behind its Service: kubectl describe; then run the same command again, it continues"},
	{is: install.ErrIncomplete, sentence: "The last installation did not come to its end", code: Drift,
		hint: "caisson history says why; then run again what is unfinished, it continues; caisson install PLAN.json --component NAME repairs one component"},
	{is: install.ErrNoComponent, sentence: "The component cannot be installed alone", code: Usage,
		hint: "name components of the plan with --component, those that they need included; without it all are installed"},
	{is: install.ErrDrift, sentence: "What is installed was changed", code: Drift,
		hint: "run caisson install PLAN.json again to put it right"},
	{is: install.ErrNotReady, sentence: "Not everything is ready", code: Drift,
		hint: "look at the objects named above: kubectl describe; then run caisson status again"},
	{is: install.ErrNothingFormer, sentence: "There is nothing to go back to", code: Failed,
		hint: "caisson history shows what was done; caisson uninstall COMPONENT removes one"},
	{is: install.ErrUserObjects, sentence: "Objects that users made would lose what serves them", code: Failed,
		hint: "look with --preview; then delete them first with --remove-user-objects, or keep them as they are with --leave-user-objects"},
	{is: install.ErrNeeded, sentence: "Other components need it", code: Failed,
		hint: "remove those first, or everything: caisson uninstall"},
	{as: isAny(install.ErrManyStacks, report.ErrStack), sentence: "It is not clear which stack is meant", code: Usage,
		hint: "name it with --stack NAME"},
	{is: resolve.ErrNodePlatform, sentence: "The stack is not for a platform of the site's nodes", code: Preflight,
		hint: "add the platform named above to platforms: in the stack; or give --platform for what is to be carried"},
	{is: resolve.ErrNoDriver, sentence: "A node of the site gets no driver", code: Preflight,
		hint: "settle the errors listed above at the site, export the nodes again, then resolve again"},
	{is: plan.ErrPreflight, sentence: "The site does not meet what the stack needs", code: Preflight,
		hint: "settle the errors listed above, then run the same command again"},
	{is: plan.ErrInvalid, sentence: "The plan cannot be used", code: Failed,
		hint: "make it again: caisson plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json"},
	{is: kube.ErrNotReady, sentence: "Something did not become ready in time", code: Drift,
		hint: "look at it with: caisson status; then run the same command again, it continues"},
	{is: kube.ErrFailed, sentence: "An object in the cluster reports failure", code: Failed,
		hint: "look at it with: caisson status and kubectl describe; then run the same command again"},
	{is: kube.ErrNoKind, sentence: "The cluster does not know a kind that the stack uses", code: Failed,
		hint: "the component that brings its CRD must be needed by the one that uses it"},
	{is: install.ErrComponent, sentence: "A component could not be installed", code: Failed,
		hint: "look at it with: caisson status; then run the same command again, it continues"},
	{is: helm.ErrUnknownImage, sentence: "The chart names an image that is not in the bundle", code: Preflight,
		hint: "add it to images: of the component in the stack, then resolve and pack again; or correct the site's values"},
	{is: journal.ErrNone, sentence: "Nothing is installed", code: Failed,
		hint: "install a stack: caisson plan PATH... --site SITE.yaml -o PLAN.json, then caisson install PLAN.json"},
	{as: isAny(journal.ErrChanged, kube.ErrConflict, kube.ErrExists), sentence: "Somebody else changed the journal meanwhile", code: Failed,
		hint: "look with: caisson history, then run again"},
	{as: isAny(journal.ErrInvalid, kube.ErrDamaged), sentence: "The journal in the cluster cannot be read", code: Failed,
		hint: "caisson keeps a copy in --state-dir; restore the Secrets in namespace caisson-system from it or a backup"},

	{is: nodes.ErrNoTree, sentence: "The directory is not a tree of a node", code: Usage,
		hint: "give the directory that holds the node's sys, proc and etc: caisson nodes --sysfs DIR"},

	// The machine.
	{is: syscall.ENOSPC, sentence: "The disk is full", code: Failed,
		hint: "free space, then run the same command again: it continues where it stopped"},
	{is: syscall.EADDRINUSE, sentence: "The address is in use", code: Failed,
		hint: "give another one with --listen HOST:PORT"},
	{is: syscall.ECONNREFUSED, sentence: "Nothing listens at the address", code: Failed,
		hint: "start the server there, or correct the address"},
	{is: fs.ErrExist, sentence: "A file is already there and is left alone", code: Failed,
		hint: "give another directory, or move the file away"},
	{is: fs.ErrNotExist, sentence: "A file is not there", code: Failed,
		hint: "check the path"},
	{is: fs.ErrPermission, sentence: "A file may not be opened", code: Failed,
		hint: "check its owner and mode"},
	{is: context.DeadlineExceeded, sentence: "It took too long", code: Failed,
		hint: "run the same command again"},
}

// isAny matches one of several sentinels.
func isAny(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
}

// isDamaged matches a bundle that is not whole; a block that the disk refuses or
// cuts short is damage like any other.
func isDamaged(err error) bool {
	return isType[*bundle.BlockError](err) ||
		isAny(bundle.ErrMissing, bundle.ErrDamaged, bundle.ErrTampered, bundle.ErrFormat, bundle.ErrDuplicate, catalog.ErrInvalid)(err)
}

// isUnreadableLock matches the lock in a bundle, whose lines nobody at the site can
// correct.
func isUnreadableLock(err error) bool {
	return errors.Is(err, bundle.ErrFormat) && (isType[*yamlfile.Error](err) || errors.Is(err, yamlfile.ErrNoDocument))
}

// isAbsentUpstream matches an upstream that answers, and does not have what was asked for.
func isAbsentUpstream(err error) bool {
	var s *fetch.StatusError
	gone := errors.As(err, &s) && (s.Status == 404 || s.Status == 410)
	return gone || isAny(registry.ErrNotFound, hub.ErrNotFound, helm.ErrNoChart, helm.ErrNoVersion)(err)
}

// isDenied matches an upstream that asks who we are.
func isDenied(err error) bool {
	var s *fetch.StatusError
	return errors.As(err, &s) && (s.Status == 401 || s.Status == 403)
}
