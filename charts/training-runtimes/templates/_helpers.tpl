{{- define "training-runtimes.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* What keeps a job from asking anybody outside, and where it may write. */}}
{{- define "training-runtimes.env" -}}
{{- if .Values.site.hub }}
- {name: HF_ENDPOINT, value: {{ .Values.site.hub | quote }}}
{{- else }}
- {name: HF_HUB_OFFLINE, value: "1"}
- {name: TRANSFORMERS_OFFLINE, value: "1"}
- {name: HF_DATASETS_OFFLINE, value: "1"}
{{- end }}
- {name: HF_HUB_DISABLE_XET, value: "1"}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
- {name: DO_NOT_TRACK, value: "1"}
- {name: WANDB_MODE, value: offline}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: NO_ALBUMENTATIONS_UPDATE, value: "1"}
- {name: PIP_DISABLE_PIP_VERSION_CHECK, value: "1"}
{{- if .Values.pip.indexURL }}
- {name: PIP_INDEX_URL, value: {{ .Values.pip.indexURL | quote }}}
- {name: UV_DEFAULT_INDEX, value: {{ .Values.pip.indexURL | quote }}}
{{- with .Values.pip.trustedHost }}
- {name: PIP_TRUSTED_HOST, value: {{ . | quote }}}
{{- end }}
{{- else }}
- {name: PIP_NO_INDEX, value: "1"}
- {name: UV_OFFLINE, value: "1"}
{{- end }}
- {name: XDG_CACHE_HOME, value: /cache}
- {name: HF_HOME, value: /cache/huggingface}
- {name: TORCH_HOME, value: /cache/torch}
- {name: TRITON_CACHE_DIR, value: /cache/triton}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
- {name: NUMBA_CACHE_DIR, value: /cache/numba}
- {name: MPLCONFIGDIR, value: /cache/matplotlib}
- {name: WANDB_DIR, value: /cache}
{{- range $name := keys .Values.env | sortAlpha }}
- {name: {{ $name }}, value: {{ get $.Values.env $name | quote }}}
{{- end }}
{{- end -}}

{{/* The user of a pod whose image has no user of its own needs a home and a name. */}}
{{- define "training-runtimes.home" -}}
- {name: HOME, value: /cache}
- {name: USER, value: trainer}
{{- end -}}

{{- define "training-runtimes.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.fsGroup }}
fsGroup: {{ int64 . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "training-runtimes.containerSecurity" -}}
{allowPrivilegeEscalation: false, privileged: false, capabilities: {drop: [ALL]}}
{{- end -}}

{{- define "training-runtimes.mounts" -}}
- {name: shared-memory, mountPath: /dev/shm}
- {name: cache, mountPath: /cache}
{{- end -}}

{{- define "training-runtimes.volumes" -}}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ int64 .Values.sharedMemoryGiB }}Gi}
- name: cache
  emptyDir: {sizeLimit: {{ int64 .Values.cacheGiB }}Gi}
{{- end -}}

{{/* Peers at a URL: pods of a Service's namespace, else any address of the site. */}}
{{- define "training-runtimes.egress" -}}
{{- $url := urlParse .url -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- $parts := splitList ":" $url.host | first | splitList "." -}}
- to:
    {{- if and (ge (len $parts) 3) (eq (index $parts 2) "svc") }}
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ index $parts 1 }}}
    {{- else }}
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
    {{- end }}
  ports:
    - {port: {{ $port }}, protocol: TCP}
{{- end -}}

{{/* Where the jobs' pods are kept inside the site: where queues are, and where else it is wanted. */}}
{{- define "training-runtimes.namespaces" -}}
{{- if .Values.networkPolicy.enabled -}}
{{- concat (default list .Values.site.queueNamespaces) (default list .Values.networkPolicy.namespaces) | uniq | toJson -}}
{{- else -}}[]
{{- end -}}
{{- end -}}
