{{/* "true" where the agent is set up; what is set by halves is refused. */}}
{{- define "node-agent.wanted" -}}
{{- if or .Values.stack .Values.image .Values.config -}}
{{- $_ := required "node-agent: stack is not set: the name of the stack whose images the agent knows" .Values.stack -}}
{{- $_ = required "node-agent: image is not set: Caisson's own image, at the site's registry" .Values.image -}}
{{- $_ = required "node-agent: config is not set: what the agent is to write" .Values.config -}}
true
{{- end -}}
{{- end -}}
