{{- define "site-hub.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "site-hub.labels" -}}
{{ include "site-hub.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* "true" where the hub is set up; what is set by halves is refused. */}}
{{- define "site-hub.wanted" -}}
{{- $volume := or .Values.bundle.existingClaim .Values.bundle.hostPath -}}
{{- if or .Values.image $volume .Values.keys -}}
{{- $_ := required "site-hub: image is not set: Caisson's own image, where the nodes get it" .Values.image -}}
{{- $_ = required "site-hub: bundle is not set: bundle.existingClaim or bundle.hostPath, where the bundle is" $volume -}}
{{- if and .Values.bundle.existingClaim .Values.bundle.hostPath -}}
{{- fail "site-hub: bundle.existingClaim and bundle.hostPath are both set; the bundle is in one place" -}}
{{- end -}}
{{- $_ = required "site-hub: keys is empty: a bundle is served only if it is signed by a key that is trusted" .Values.keys -}}
true
{{- end -}}
{{- end -}}
