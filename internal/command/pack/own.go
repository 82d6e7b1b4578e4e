package pack

import (
	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
)

// ownBinary names the running binary as a source.
const ownBinary = "this caisson"

// writeAgentLayer writes the layer of the node agent's image, which is made of the running
// binary. One of another build is ErrLocalChanged.
func (a *attempt) writeAgentLayer(src lock.Source) error {
	im, err := a.tool()
	if err != nil {
		return err
	}
	if im.Layer.Digest != src.Digest {
		return &changedFile{path: ownBinary, want: string(src.Digest), got: string(im.Layer.Digest)}
	}
	if err := a.dst.Reset(); err != nil {
		return err
	}
	return im.WriteLayer(a.dst)
}

// ownHead is the manifest or the config of that image.
func (f *filler) ownHead(src lock.Source) ([]byte, error) {
	im, err := f.tool()
	if err != nil {
		return nil, err
	}
	for _, data := range [][]byte{im.Manifest, im.Config} {
		if digest.FromBytes(data) == src.Digest {
			return data, nil
		}
	}
	return nil, &changedFile{path: ownBinary, want: string(src.Digest), got: string(digest.FromBytes(im.Manifest))}
}
