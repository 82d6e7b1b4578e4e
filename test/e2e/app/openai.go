package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// serveModel stands in for vLLM: it reads the arguments that it is started with, and a
// completion is the digest of the model's first weights.
func serveModel(args []string) error {
	given := readFlags(args)
	weights, err := filepath.Glob(filepath.Join(given["model"], "*.safetensors"))
	if err != nil || len(weights) == 0 {
		return fmt.Errorf("no weights in %q, of arguments %q", given["model"], args)
	}
	sum, err := digest(weights[0])
	if err != nil {
		return err
	}
	http.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Model, Prompt string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || !slices.Contains(strings.Fields(given["served-model-name"]), asked.Model) || asked.Prompt == "" {
			http.Error(w, fmt.Sprintf("model %q is served as %q", asked.Model, given["served-model-name"]), http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"text": sum}}})
	})
	return http.ListenAndServe(":"+given["port"], nil)
}

// readFlags reads --name=value and --name value value.
func readFlags(args []string) map[string]string {
	given, last := map[string]string{}, ""
	for _, arg := range args {
		name, isFlag := strings.CutPrefix(arg, "--")
		if !isFlag {
			given[last] += " " + arg
			continue
		}
		name, value, _ := strings.Cut(name, "=")
		given[name], last = value, name
	}
	return given
}

// complete asks for a completion and returns its text.
func complete(url, model string) (string, error) {
	body, err := json.Marshal(map[string]any{"model": model, "prompt": "hello", "max_tokens": 8})
	if err != nil {
		return "", err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	text, err := readReply(client.Post(url+"/v1/completions", "application/json", bytes.NewReader(body)))
	if err != nil {
		return "", err
	}
	var answer struct{ Choices []struct{ Text string } }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return "", err
	}
	if len(answer.Choices) == 0 {
		return "", errors.New("no choices")
	}
	return answer.Choices[0].Text, nil
}
