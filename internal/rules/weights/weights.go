// Package weights reads what the files of a model say of themselves: the headers
// of safetensors, the index that says which shard holds which tensor, the
// model's configuration, and by their first bytes what runs code when it is
// loaded.
//
// All of it is hostile input: each reader bounds what it takes. The package
// opens no file, and never looks at a weight.
package weights

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFormat says that a file is not what its name promises.
var ErrFormat = errors.New("the file is not what it says")

// ErrShort says that more of a file is needed than was given.
var ErrShort = errors.New("the head of the file ends early")

func formatError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// Type is how one number of a tensor is stored, as safetensors spell it: BF16.
type Type string

// bits of one number, for the types of safetensors 0.7.
var bits = map[Type]int64{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16,
	"I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}

// Tensor is one tensor of a file.
type Tensor struct {
	Type  Type
	Count int64 // numbers in it
	Bytes int64
	begin int64 // of its bytes in the data
}

// IsSafetensors says whether a path is that of a safetensors file.
func IsSafetensors(path string) bool { return strings.HasSuffix(path, ".safetensors") }

// IsGGUF says whether a path is that of a GGUF file.
func IsGGUF(path string) bool { return strings.HasSuffix(path, ".gguf") }

// IsIndex says whether a path is that of an index of safetensors.
func IsIndex(path string) bool { return strings.HasSuffix(path, ".safetensors.index.json") }
