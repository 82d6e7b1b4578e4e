{{- define "web.proxyTag" -}}
{{- if semverCompare ">=1.35.0-0" .Capabilities.KubeVersion.Version -}}
{{ .Values.proxy.nativeTag }}
{{- else -}}
{{ .Values.proxy.tag }}
{{- end -}}
{{- end -}}
