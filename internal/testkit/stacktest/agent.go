package stacktest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/caisson/caisson/internal/client/agent"
)

// Binary writes the smallest file that counts as a static Linux binary of the
// given machine, with more behind its head, and returns its path.
func Binary(tb testing.TB, machine elf.Machine, more string) string {
	tb.Helper()
	head := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}
	var b bytes.Buffer
	requireNoError(tb, binary.Write(&b, binary.LittleEndian, head))
	b.WriteString(more)
	path := filepath.Join(tb.TempDir(), "caisson")
	requireNoError(tb, os.WriteFile(path, b.Bytes(), 0o755))
	return path
}

// addAgent enters the node agent's image.
func (p *packer) addAgent(tb testing.TB) {
	tb.Helper()
	im, err := agent.Build(Binary(tb, elf.EM_X86_64, "agent"))
	requireNoError(tb, err)
	var layer bytes.Buffer
	requireNoError(tb, im.WriteLayer(&layer))
	for _, data := range [][]byte{im.Manifest, im.Config, layer.Bytes()} {
		p.putBlob(data)
	}
	it := im.Item()
	p.items[string(it.Ref)] = &it
}
