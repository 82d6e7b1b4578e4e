package missiontest

import (
	"strings"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// AddSmallModel adds a stand-in for the model of the profile minimal to a hub: under its
// name and at the commit that the stack pins, with the files of such a model, and a few
// MiB of random numbers for weights.
func AddSmallModel(u *upstreamtest.Upstream) error {
	s, err := stack.ReadShipped("sovereign-ai")
	if err != nil {
		return err
	}
	for _, c := range s.Components {
		for _, m := range c.Models {
			u.AddModel(upstreamtest.Model{
				ID: strings.TrimPrefix(m.Source, "hf://"), Commit: m.Revision, Files: smallModel(),
			})
		}
	}
	return nil
}

func smallModel() map[string][]byte {
	return map[string][]byte{
		"README.md":              []byte("---\nlicense: apache-2.0\n---\nA stand-in: the numbers are random.\n"),
		"config.json":            []byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"torch_dtype":"bfloat16","vocab_size":8192}`),
		"generation_config.json": []byte(`{"bos_token_id":1,"eos_token_id":2}`),
		"tokenizer_config.json":  []byte(`{"tokenizer_class":"PreTrainedTokenizerFast","chat_template":"{% for m in messages %}{{ m.content }}{% endfor %}"}`),
		"tokenizer.json":         []byte(`{"version":"1.0","model":{"type":"BPE","vocab":{"<s>":1,"</s>":2},"merges":[]}}`),
		"model.safetensors": upstreamtest.Safetensors("small model", map[string]int64{
			"model.embed_tokens.weight": 512 << 10, "model.layers.0.mlp.weight": 256 << 10, "model.layers.1.mlp.weight": 256 << 10,
		}),
	}
}
