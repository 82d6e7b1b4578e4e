package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// maxFile bounds what is read of a node's file.
const maxFile = 1 << 20

// maxEntries bounds the hosts of a directory that are looked at.
const maxEntries = 10_000

// before is appended to the name of a file that an administrator had.
const before = ".before-caisson"

// Conflict is something on the node that the keeper leaves as it is.
type Conflict struct {
	Path string // below the directory
	What string
}

func (c *Conflict) Error() string { return c.Path + " " + c.What }

// keeper holds one directory of a node, together with the keepers of other
// stacks: a file that several want has all their names in its first line, and
// goes with the last. All access stays below the directory.
type keeper struct {
	root  *os.Root
	lock  *os.File // held while the keeper is open: one at a time changes the directory
	stack string
}

// openKeeper waits while the keeper of another stack has the directory.
func openKeeper(dir, stack string) (*keeper, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	lock, err := root.Open(".")
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), root.Close())
	}
	return &keeper{root: root, lock: lock, stack: stack}, nil
}

// close lets the next keeper in.
func (k *keeper) close() error { return errors.Join(k.lock.Close(), k.root.Close()) }

// keepFiles makes every file what it should be and removes those of an earlier time.
// It goes on after errors, which it joins: *Conflict for what it does not touch.
func (k *keeper) keepFiles(files []mirror.File) (changed int, _ error) {
	var errs []error
	changed, err := k.takeAllAway(k.obsoleteFiles(files))
	errs = append(errs, err)
	for _, f := range files {
		done, err := k.putFile(f)
		if done {
			changed++
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return changed, errors.Join(errs...)
}

// removeFiles takes the files away and puts back what was there before them.
func (k *keeper) removeFiles(files []mirror.File) (changed int, _ error) {
	names := k.obsoleteFiles(files)
	for _, f := range files {
		names = append(names, f.Path)
	}
	return k.takeAllAway(names)
}

// obsoleteFiles lists our files that are not among the given ones.
func (k *keeper) obsoleteFiles(files []mirror.File) []string {
	d, err := k.root.Open(".")
	if err != nil {
		return nil // takeAway and putFile will say why
	}
	defer d.Close()
	entries, _ := d.ReadDir(maxEntries)
	var out []string
	for _, e := range entries {
		for _, name := range ourNames(e) {
			if slices.ContainsFunc(files, func(f mirror.File) bool { return f.Path == name }) {
				continue
			}
			if s, err := k.readState(name); err == nil && s.wantedBy(k.stack) {
				out = append(out, name)
			}
		}
	}
	return out
}

// ourNames are the files that may be ours at, or directly below, an entry.
func ourNames(e fs.DirEntry) []string {
	switch {
	case e.IsDir():
		return []string{e.Name() + "/" + mirror.HostsFile, e.Name() + "/" + mirror.CAFile}
	case strings.HasPrefix(e.Name(), mirror.CRIOName) && path.Ext(e.Name()) == ".conf":
		return []string{e.Name()}
	}
	return nil
}

func (k *keeper) takeAllAway(names []string) (changed int, _ error) {
	var errs []error
	for _, name := range slices.Backward(names) {
		done, err := k.takeAway(name)
		if done {
			changed++
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return changed, errors.Join(errs...)
}

// state is what stands at a path.
type state struct {
	info   fs.FileInfo // nil: nothing
	data   []byte
	owners []string // the stacks that want it so; none for anybody else's file
}

// isSecret says whether nobody but root reads the file.
func (s state) isSecret() bool { return s.info != nil && s.info.Mode().Perm()&0o077 == 0 }

// wantedBy says whether a stack is among the owners.
func (s state) wantedBy(stack string) bool { return slices.Contains(s.owners, stack) }

// otherOwners are the owners but one.
func (s state) otherOwners(stack string) []string {
	return slices.DeleteFunc(slices.Clone(s.owners), func(o string) bool { return o == stack })
}

// readState reads what is at a path. Anything but a plain file of plain size, in a
// plain directory, is a conflict.
func (k *keeper) readState(name string) (state, error) {
	if dir := path.Dir(name); dir != "." {
		info, err := k.root.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return state{}, nil
		}
		if err != nil {
			return state{}, err
		}
		if !info.IsDir() {
			return state{}, &Conflict{dir, "is not a directory"}
		}
	}
	info, err := k.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return state{}, &Conflict{name, "is not a plain file of at most 1 MiB"}
	}
	data, err := atomicfile.ReadIn(k.root, name, maxFile)
	return state{info, data, parseOwners(data)}, err
}

// parseOwners are the stacks for which a file was written.
func parseOwners(data []byte) []string {
	rest, ours := strings.CutPrefix(string(data), mirror.Mark)
	line, _, ok := strings.Cut(rest, ".\n")
	if !ours || !ok || strings.Contains(line, "\n") {
		return nil
	}
	return strings.Split(line, ", ")
}

// withoutOwnerLine is a file without the line that names the stacks.
func withoutOwnerLine(data []byte) string {
	_, rest, _ := strings.Cut(string(data), "\n")
	return rest
}

// withOwners is a file's data with the given stacks in its first line.
func withOwners(data []byte, stacks []string) []byte {
	slices.Sort(stacks)
	return []byte(mirror.Mark + strings.Join(stacks, ", ") + ".\n" + withoutOwnerLine(data))
}

func (k *keeper) putFile(f mirror.File) (changed bool, _ error) {
	there, err := k.readState(f.Path)
	if conflict := new(Conflict); errors.As(err, &conflict) && len(f.Yields) > 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	others, same := there.otherOwners(k.stack), withoutOwnerLine(there.data) == withoutOwnerLine(f.Data)
	switch {
	case f.Makeshift && there.wantedBy(k.stack):
		return false, nil
	case len(there.owners) == 0 && k.yieldsToForeign(f):
		return false, nil
	case there.info != nil && len(there.owners) == 0:
		if err := k.saveFormer(f.Path, there); err != nil {
			return false, err
		}
	case same && there.wantedBy(k.stack) && (there.isSecret() || !f.Secret):
		return false, nil
	case len(others) > 0 && !same:
		return false, k.leaveToOthers(f, there, others)
	}
	f.Data = withOwners(f.Data, append(others, k.stack))
	return true, k.replaceFile(f)
}

// leaveToOthers leaves a file to the stacks that want it as it is and takes this
// stack off its owners, so that the others can change over one after the other.
func (k *keeper) leaveToOthers(f mirror.File, there state, others []string) error {
	conflict := &Conflict{f.Path, "was written for stack " + strings.Join(others, ", ") + ", which has another site registry, or another CA or login"}
	if !there.wantedBy(k.stack) {
		return conflict
	}
	return errors.Join(conflict, k.replaceFile(mirror.File{Path: f.Path, Data: withOwners(there.data, others), Secret: there.isSecret()}))
}

// yieldsToForeign says whether anything not ours stands where f yields.
func (k *keeper) yieldsToForeign(f mirror.File) bool {
	for _, dir := range f.Yields {
		if info, err := k.root.Lstat(dir); err == nil && !info.IsDir() {
			return true
		}
		entries, _ := fs.ReadDir(k.root.FS(), dir)
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !k.isOurs(dir, e.Name()) }) {
			return true
		}
	}
	return false
}

// isOurs says whether a file was written by some stack's keeper, or is one that a
// keeper did not finish.
func (k *keeper) isOurs(dir, name string) bool {
	if strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".caisson") {
		return true
	}
	s, err := k.readState(dir + "/" + name)
	return err == nil && len(s.owners) > 0
}

// saveFormer gives an administrator's file a second name before ours takes its place.
func (k *keeper) saveFormer(name string, there state) error {
	saved, err := k.root.Lstat(name + before)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k.root.Link(name, name+before)
	case err != nil:
		return err
	case os.SameFile(saved, there.info): // cut off after Link
		return nil
	}
	return &Conflict{name, "was put there by somebody else, while " + path.Base(name) + before + " keeps what was there before"}
}

// replaceFile puts a file in place whole or not at all.
func (k *keeper) replaceFile(f mirror.File) (err error) {
	dir := path.Dir(f.Path)
	if err := k.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp := dir + "/." + path.Base(f.Path) + "." + k.stack + ".caisson"
	if err := k.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			_ = k.root.Remove(temp)
		}
	}()
	mode := fs.FileMode(0o644)
	if f.Secret {
		mode = 0o600
	}
	if err := k.writeNew(temp, f.Data, mode); err != nil {
		return err
	}
	if err := k.root.Rename(temp, f.Path); err != nil {
		return err
	}
	return k.syncDir(dir)
}

func (k *keeper) writeNew(name string, data []byte, mode fs.FileMode) error {
	w, err := k.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Chmod(mode), w.Sync(), w.Close())
}

func (k *keeper) syncDir(dir string) error {
	d, err := k.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// takeAway removes our file and brings back the one before it. A file that another
// stack wants as well is left to that one; a file that is not ours stays.
func (k *keeper) takeAway(name string) (changed bool, _ error) {
	there, err := k.readState(name)
	if err != nil {
		return false, err
	}
	saved, err := k.readState(name + before)
	if err != nil {
		return false, err
	}
	others := there.otherOwners(k.stack)
	switch {
	case there.wantedBy(k.stack) && len(others) > 0:
		err = k.replaceFile(mirror.File{Path: name, Data: withOwners(there.data, others), Secret: there.isSecret()})
	case there.wantedBy(k.stack) && saved.info != nil, there.info == nil && saved.info != nil:
		err = k.root.Rename(name+before, name)
	case there.wantedBy(k.stack):
		err = k.root.Remove(name)
	case saved.info != nil && os.SameFile(saved.info, there.info):
		err = k.root.Remove(name + before)
	case len(there.owners) == 0 && saved.info != nil:
		return false, &Conflict{name, "was put there by somebody else; what was there before caisson is " + path.Base(name) + before}
	default:
		return false, k.tidyDir(path.Dir(name))
	}
	return err == nil, errors.Join(err, k.tidyDir(path.Dir(name)))
}

// tidyDir removes what a cut-off write left, and the directory when it is empty.
func (k *keeper) tidyDir(dir string) error {
	d, err := k.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	left := 0
	for _, n := range names {
		if strings.HasPrefix(n, ".") && strings.HasSuffix(n, "."+k.stack+".caisson") {
			err = errors.Join(err, k.root.Remove(dir+"/"+n))
			continue
		}
		left++
	}
	if left == 0 && dir != "." {
		err = errors.Join(err, k.root.Remove(dir))
	}
	return err
}
