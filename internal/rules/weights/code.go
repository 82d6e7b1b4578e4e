package weights

import (
	"bytes"
	"encoding/binary"
	"path"
	"regexp"
	"strings"
)

// SniffLength is how many first bytes of a file tell its format.
const SniffLength = 4096

// Why a file may run code when somebody loads it.
const (
	Pickle  = "a pickle, which runs what its author put into it"
	Archive = "an archive, and nobody looks into those: PyTorch and NeMo keep pickles in them"
	Keras   = "a Keras or HDF5 file, which may hold a pickled function"
	Python  = "Python, which runs when the model is loaded with trust_remote_code"
	Native  = "a program or a library"
	Script  = "a script"
	Engine  = "a compiled engine, which runs on the machine that loads it"
)

// byName are the endings of names that stand for such formats.
var byName = map[string]string{
	".bin": Pickle, ".pt": Pickle, ".pth": Pickle, ".pkl": Pickle, ".pickle": Pickle, ".ckpt": Pickle, ".joblib": Pickle,
	".dill": Pickle, ".ot": Pickle, ".pdparams": Pickle, ".pdopt": Pickle, ".pdiparams": Pickle, ".ptl": Pickle,
	".torchscript": Pickle, ".whl": Archive,
	".nemo": Archive, ".mar": Archive, ".zip": Archive, ".tar": Archive, ".tgz": Archive, ".gz": Archive, ".bz2": Archive,
	".xz": Archive, ".zst": Archive, ".7z": Archive, ".rar": Archive, ".npz": Archive,
	".h5": Keras, ".hdf5": Keras, ".keras": Keras,
	".py": Python, ".pyc": Python, ".pyx": Python, ".pyd": Native, ".ipynb": Script,
	".so": Native, ".dll": Native, ".dylib": Native, ".exe": Native, ".o": Native, ".a": Native,
	".jar": Native, ".class": Native,
	".sh": Script, ".bash": Script, ".bat": Script, ".cmd": Script, ".ps1": Script, ".js": Script,
	".engine": Engine, ".plan": Engine, ".trt": Engine, ".pb": "a TensorFlow graph, which can read and write files",
}

// CodeByName says why a file of that name may run code, or nothing.
func CodeByName(name string) string {
	base := strings.ToLower(path.Base(name))
	if ending := path.Ext(base); byName[ending] != "" {
		return byName[ending]
	}
	return ""
}

// magics are the first bytes of such formats, wherever one of them stands.
var magics = []struct {
	first string
	what  string
}{
	{"PK\x03\x04", Archive}, {"PK\x05\x06", Archive}, {"\x1f\x8b", Archive}, {"BZh", Archive}, {"\xfd7zXZ\x00", Archive},
	{"\x28\xb5\x2f\xfd", Archive}, {"7z\xbc\xaf\x27\x1c", Archive}, {"Rar!\x1a\x07", Archive}, {"\x04\x22\x4d\x18", Archive},
	{"\x89HDF\r\n\x1a\n", Keras},
	{"\x7fELF", Native}, {"\xcf\xfa\xed\xfe", Native}, {"\xca\xfe\xba\xbe", Native}, {"\xce\xfa\xed\xfe", Native},
	{"#!", Script},
	{"ftrt", Engine},
}

// CodeByContent says why a file that begins with head may run code, or nothing.
func CodeByContent(head []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.first)) {
			return m.what
		}
	}
	switch {
	case isPickled(head), isPickledArray(head):
		return Pickle
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return Archive
	case isWindowsProgram(head):
		return Native
	}
	return ""
}

// A pickle of protocol 2 and later begins with its protocol, and one of the
// instructions that may follow it; earlier ones are text.
var (
	textPickle = regexp.MustCompile(`^(?:\([dlt]p[0-9]+\n|\([SV][^\n]*\np[0-9]+\n|\(?` + global + `|\(i[A-Za-z_][A-Za-z0-9_.]*\n|[\]})]p[0-9]+\n|[\]})]q[\x00-\x1f])`)
	global     = `c[A-Za-z_][A-Za-z0-9_.]*\n[A-Za-z_][A-Za-z0-9_.]*\n(?:p[0-9]+\n|q[\x00-\x1f]|[()])`
	afterProto = "\x95c}](\x8a\x8bX\x8cKMJGNUTC\x8eB\x96\x88\x89I)\x80."
)

func isPickled(head []byte) bool {
	if len(head) >= 3 && head[0] == 0x80 && head[1] >= 1 && head[1] <= 9 {
		return strings.IndexByte(afterProto, head[2]) >= 0
	}
	return textPickle.Match(head)
}

// isPickledArray recognises a NumPy file whose numbers are objects: its header
// says O among its types.
func isPickledArray(head []byte) bool {
	if !bytes.HasPrefix(head, []byte("\x93NUMPY")) || len(head) < 12 {
		return false
	}
	text := head[10:min(len(head), 10+int(binary.LittleEndian.Uint16(head[8:])))]
	if head[6] >= 2 {
		text = head[12:min(len(head), 12+int(min(binary.LittleEndian.Uint32(head[8:12]), SniffLength)))]
	}
	return objectType.Match(text)
}

var objectType = regexp.MustCompile(`'[|<>=]?O[0-9]*'`)

// isWindowsProgram follows the pointer of the old header to the new one's mark.
func isWindowsProgram(head []byte) bool {
	if len(head) < 64 || string(head[:2]) != "MZ" {
		return false
	}
	at := int64(binary.LittleEndian.Uint32(head[60:]))
	return at+4 <= int64(len(head)) && string(head[at:at+4]) == "PE\x00\x00"
}
