package kube

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/caisson/caisson/internal/rules/redact"
)

// Bounds of what is read of a container's log.
const (
	tailLines  = 20
	tailBytes  = 64 << 10
	tailWithin = 2 * time.Second
	maxLogLine = 200 // characters that are told
)

// podTrouble says what keeps a pod from being ready. Its text is empty where nothing
// is known.
func (s *search) podTrouble(ctx context.Context, p *corev1.Pod) trouble {
	t := trouble{about: "Pod " + p.Namespace + "/" + p.Name}
	if status, init := brokenContainer(p); status != nil {
		t.text, t.weight = s.containerTrouble(ctx, p, status, init), crashes
		return t
	}
	if c, found := podCondition(p, corev1.PodScheduled); found && c.Status == corev1.ConditionFalse {
		t.text, t.weight = "cannot be scheduled: "+oneLine(c.Message)+s.unboundClaims(ctx, p), unscheduled
		return t
	}
	if p.Status.Phase == corev1.PodFailed {
		t.text, t.weight = "failed: "+oneLine(joinReason(p.Status.Reason, p.Status.Message)), crashes
		return t
	}
	t.text, t.weight = s.startTrouble(ctx, p)
	return t
}

// brokenContainer is the first container of a pod that cannot run, those that
// initialize it first.
func brokenContainer(p *corev1.Pod) (_ *corev1.ContainerStatus, init bool) {
	for i := range p.Status.InitContainerStatuses {
		if isBroken(p.Status.InitContainerStatuses[i]) {
			return &p.Status.InitContainerStatuses[i], true
		}
	}
	for i := range p.Status.ContainerStatuses {
		if isBroken(p.Status.ContainerStatuses[i]) {
			return &p.Status.ContainerStatuses[i], false
		}
	}
	return nil, false
}

// isBroken says whether a container ended badly and does not run, or is kept from
// beginning.
func isBroken(c corev1.ContainerStatus) bool {
	switch {
	case c.State.Waiting != nil:
		return !underWay[c.State.Waiting.Reason]
	case c.State.Terminated != nil:
		return c.State.Terminated.ExitCode != 0
	}
	return false
}

// underWay are the reasons for which a container waits in good order.
var underWay = map[string]bool{"": true, "ContainerCreating": true, "PodInitializing": true}

// containerTrouble says why a container cannot run.
func (s *search) containerTrouble(ctx context.Context, p *corev1.Pod, c *corev1.ContainerStatus, init bool) string {
	name := "container " + c.Name
	if init {
		name = "init container " + c.Name
	}
	if w := c.State.Waiting; w != nil {
		message := oneLine(w.Message)
		switch {
		case unpulled[w.Reason]:
			return fmt.Sprintf("cannot pull image %s for %s: %s", c.Image, name, joinReason(w.Reason, message))
		case w.Reason != "CrashLoopBackOff":
			return fmt.Sprintf("cannot start %s: %s", name, joinReason(w.Reason, s.withoutSecrets(ctx, p, message)))
		}
	}
	return name + " crashes" + s.describeEnd(ctx, p, c)
}

// joinReason reads "ErrImagePull: not found".
func joinReason(reason, message string) string { return strings.Trim(reason+": "+message, ": ") }

// describeEnd says how a container ended last, and with which line of its log.
func (s *search) describeEnd(ctx context.Context, p *corev1.Pod, c *corev1.ContainerStatus) string {
	ended := c.State.Terminated
	if ended == nil {
		ended = c.LastTerminationState.Terminated
	}
	var parts []string
	if ended != nil {
		code := fmt.Sprintf("exit code %d", ended.ExitCode)
		if ended.Reason != "" && ended.Reason != "Error" {
			code += " (" + ended.Reason + ")"
		}
		parts = append(parts, code)
	}
	if c.RestartCount > 0 {
		parts = append(parts, fmt.Sprintf("restarted %d times", c.RestartCount))
	}
	if line := s.lastWords(ctx, p, c, ended); line != "" {
		parts = append(parts, fmt.Sprintf("its log ends with %q", line))
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// lastWords is the last line that a container wrote, or left as its message. It is ""
// where the pod's Secrets cannot be read: nobody could tell what must not be shown.
func (s *search) lastWords(
	ctx context.Context, p *corev1.Pod, c *corev1.ContainerStatus, ended *corev1.ContainerStateTerminated,
) string {
	line := s.lastLogLine(ctx, p, c.Name)
	if line == "" && ended != nil {
		line = lastLine(ended.Message)
	}
	return s.withoutSecrets(ctx, p, line)
}

func (s *search) lastLogLine(ctx context.Context, p *corev1.Pod, container string) string {
	ctx, cancel := context.WithTimeout(ctx, tailWithin)
	defer cancel()
	lines, limit := int64(tailLines), int64(tailBytes)
	stream, err := s.Core.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{
		Container: container, TailLines: &lines, LimitBytes: &limit,
	}).Stream(ctx)
	if err != nil {
		return ""
	}
	defer stream.Close()
	log, err := io.ReadAll(io.LimitReader(stream, tailBytes))
	if err != nil {
		return ""
	}
	return lastLine(string(log))
}

// lastLine is the last line of a text that says something.
func lastLine(text string) string {
	for _, line := range slices.Backward(strings.Split(text, "\n")) {
		if line = oneLine(line); line != "" {
			return line
		}
	}
	return ""
}

// withoutSecrets takes out of a container's words the values of the Secrets that its
// pod uses and what has the look of a credential.
func (s *search) withoutSecrets(ctx context.Context, p *corev1.Pod, text string) string {
	if text == "" {
		return ""
	}
	r := redact.New()
	for _, name := range secretsOf(p) {
		secret, err := s.Core.CoreV1().Secrets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return ""
		}
		for _, value := range secret.Data {
			r.Learn(string(value))
		}
	}
	return clip(r.Text(text), maxLogLine)
}

// secretsOf names the Secrets that a pod uses, each once.
func secretsOf(p *corev1.Pod) (out []string) {
	for _, v := range p.Spec.Volumes {
		if v.Secret != nil {
			out = append(out, v.Secret.SecretName)
		}
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				out = append(out, source.Secret.Name)
			}
		}
	}
	for _, pull := range p.Spec.ImagePullSecrets {
		out = append(out, pull.Name)
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				out = append(out, e.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				out = append(out, from.SecretRef.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unboundClaims names the claims of a pod that have no volume, where the scheduler
// waits for one.
func (s *search) unboundClaims(ctx context.Context, p *corev1.Pod) string {
	claims := s.Core.CoreV1().PersistentVolumeClaims(p.Namespace)
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		claim, err := claims.Get(ctx, v.PersistentVolumeClaim.ClaimName, metav1.GetOptions{})
		if err == nil && claim.Status.Phase == corev1.ClaimPending {
			return fmt.Sprintf("; PersistentVolumeClaim %s %s", claim.Name, s.whyUnbound(ctx, claim))
		}
	}
	return ""
}

// startTrouble says of a pod on a node what it is doing instead of being ready.
func (s *search) startTrouble(ctx context.Context, p *corev1.Pod) (string, weight) {
	warning := s.newestWarning(ctx, p.Namespace, string(p.UID))
	if warning != "" {
		warning = ": " + s.withoutSecrets(ctx, p, oneLine(warning))
	}
	for _, c := range p.Status.InitContainerStatuses {
		if c.State.Running != nil && (c.Started == nil || !*c.Started) {
			return "waits for init container " + c.Name + ", which runs" + warning, starting
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.State.Running != nil && !c.Ready:
			text := "runs, and container " + c.Name + " is not ready"
			if c.RestartCount > 0 {
				text += fmt.Sprintf(" after %d restarts", c.RestartCount) + s.describeFormerEnd(ctx, p, &c)
			}
			return text + warning, slow
		case c.State.Waiting != nil:
			return "is being started on node " + p.Spec.NodeName + warning, starting
		}
	}
	if p.Spec.NodeName == "" {
		return "has no node yet" + warning, starting
	}
	if len(p.Status.ContainerStatuses) == 0 {
		return "was not taken up by node " + p.Spec.NodeName + " yet" + warning, starting
	}
	return "is not ready" + warning, slow
}

// describeFormerEnd says how a container that runs again ended before.
func (s *search) describeFormerEnd(ctx context.Context, p *corev1.Pod, c *corev1.ContainerStatus) string {
	ended := c.LastTerminationState.Terminated
	if ended == nil {
		return ""
	}
	text := fmt.Sprintf(", the last with exit code %d", ended.ExitCode)
	if line := s.withoutSecrets(ctx, p, lastLine(ended.Message)); line != "" {
		text += fmt.Sprintf(" and %q", line)
	}
	return text
}
