package preflight

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/caisson/caisson/internal/rules/decide"
)

// Levels of the Pod Security Standards.
const (
	baseline   = "baseline"
	restricted = "restricted"
)

// What the Pod Security Standards (kubernetes.io/docs/concepts/security) allow
// at level baseline.
var (
	baselineCapabilities = []corev1.Capability{"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
	safeSysctls          = []string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
	}
	seLinuxTypes = []string{"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)

// judge collects breaches.
type judge struct{ found []decide.Breach }

func (j *judge) find(level, format string, args ...any) {
	j.found = append(j.found, decide.Breach{Level: level, What: fmt.Sprintf(format, args...)})
}

// breaches lists what pods of a template break of the Pod Security Standards.
func breaches(t *corev1.PodTemplateSpec) []decide.Breach {
	var j judge
	j.pod(t)
	j.volumes(t.Spec.Volumes)
	for _, c := range everyContainer(&t.Spec) {
		j.container(c)
		j.restricted(&t.Spec, c)
	}
	return j.found
}

func everyContainer(s *corev1.PodSpec) []corev1.Container {
	return slices.Concat(s.InitContainers, s.Containers)
}

func (j *judge) pod(t *corev1.PodTemplateSpec) {
	s := &t.Spec
	for name, on := range map[string]bool{"hostNetwork": s.HostNetwork, "hostPID": s.HostPID, "hostIPC": s.HostIPC} {
		if on {
			j.find(baseline, "%s", name)
		}
	}
	slices.SortFunc(j.found, func(a, b decide.Breach) int { return strings.Compare(a.What, b.What) })
	for name, profile := range t.Annotations {
		if strings.HasPrefix(name, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && profile == "unconfined" {
			j.find(baseline, "AppArmor unconfined")
		}
	}
	c := s.SecurityContext
	if c == nil {
		return
	}
	for _, y := range c.Sysctls {
		if !slices.Contains(safeSysctls, y.Name) {
			j.find(baseline, "sysctl %s", y.Name)
		}
	}
	j.profiles("the pod", c.SeccompProfile, c.AppArmorProfile, c.SELinuxOptions)
	if w := c.WindowsOptions; w != nil && w.HostProcess != nil && *w.HostProcess {
		j.find(baseline, "hostProcess")
	}
	if c.RunAsUser != nil && *c.RunAsUser == 0 {
		j.find(restricted, "the pod runs as user 0")
	}
}

func (j *judge) profiles(where string, seccomp *corev1.SeccompProfile, armor *corev1.AppArmorProfile, se *corev1.SELinuxOptions) {
	if seccomp != nil && seccomp.Type == corev1.SeccompProfileTypeUnconfined {
		j.find(baseline, "%s has seccomp Unconfined", where)
	}
	if armor != nil && armor.Type == corev1.AppArmorProfileTypeUnconfined {
		j.find(baseline, "%s has AppArmor Unconfined", where)
	}
	if se != nil && (!slices.Contains(seLinuxTypes, se.Type) || se.User != "" || se.Role != "") {
		j.find(baseline, "%s has SELinux options of its own", where)
	}
}

func (j *judge) volumes(list []corev1.Volume) {
	for _, v := range list {
		switch {
		case v.HostPath != nil:
			j.find(baseline, "hostPath volume %s", v.Name)
		case v.ConfigMap != nil, v.CSI != nil, v.DownwardAPI != nil, v.EmptyDir != nil, v.Ephemeral != nil, v.PersistentVolumeClaim != nil, v.Projected != nil, v.Secret != nil, v.Image != nil:
		default:
			j.find(restricted, "volume %s of a type that needs more rights", v.Name)
		}
	}
}

func (j *judge) container(c corev1.Container) {
	where := "container " + c.Name
	for _, p := range c.Ports {
		if p.HostPort != 0 {
			j.find(baseline, "%s has hostPort %d", where, p.HostPort)
		}
	}
	s := c.SecurityContext
	if s == nil {
		return
	}
	if s.Privileged != nil && *s.Privileged {
		j.find(baseline, "%s is privileged", where)
	}
	if s.Capabilities != nil {
		for _, add := range s.Capabilities.Add {
			if !slices.Contains(baselineCapabilities, add) {
				j.find(baseline, "%s adds capability %s", where, add)
			}
		}
	}
	if s.ProcMount != nil && *s.ProcMount != corev1.DefaultProcMount {
		j.find(baseline, "%s has procMount %s", where, *s.ProcMount)
	}
	if w := s.WindowsOptions; w != nil && w.HostProcess != nil && *w.HostProcess {
		j.find(baseline, "%s is a hostProcess", where)
	}
	j.profiles(where, s.SeccompProfile, s.AppArmorProfile, s.SELinuxOptions)
}

// restricted is what level restricted asks beyond baseline.
func (j *judge) restricted(pod *corev1.PodSpec, c corev1.Container) {
	if pod.OS != nil && pod.OS.Name == corev1.Windows {
		return
	}
	where := "container " + c.Name
	s, p := c.SecurityContext, pod.SecurityContext
	if s == nil {
		s = &corev1.SecurityContext{}
	}
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
		j.find(restricted, "%s does not set allowPrivilegeEscalation: false", where)
	}
	if !first(s.RunAsNonRoot, p.RunAsNonRoot) {
		j.find(restricted, "%s does not set runAsNonRoot: true", where)
	}
	if s.RunAsUser != nil && *s.RunAsUser == 0 {
		j.find(restricted, "%s runs as user 0", where)
	}
	if s.SeccompProfile == nil && p.SeccompProfile == nil {
		j.find(restricted, "%s sets no seccompProfile", where)
	}
	if s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") {
		j.find(restricted, "%s does not drop capability ALL", where)
	}
	if s.Capabilities != nil {
		for _, add := range s.Capabilities.Add {
			if add != "NET_BIND_SERVICE" && slices.Contains(baselineCapabilities, add) {
				j.find(restricted, "%s adds capability %s", where, add)
			}
		}
	}
}

// first is the container's word, else the pod's.
func first(container, pod *bool) bool {
	if container != nil {
		return *container
	}
	return pod != nil && *pod
}
