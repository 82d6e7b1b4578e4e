package bundle

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// journal is the list of what was written into the volumes, beside them as
// NAME.pack-journal. It belongs to the writer alone and goes when the bundle is
// sealed. A record is
//
//	length of the body (4 bytes, little endian) · body · CRC-32C of the body
//
// and the body starts with its kind. What follows the last good record is a torn
// write: it is cut off.
type journal struct {
	mu     sync.Mutex
	file   *os.File
	end    int64
	noSync bool
	metas  map[sum]metaPlace
}

// metaPlace is where a head blob lies in the journal.
type metaPlace struct{ offset, size int64 }

// Kinds of record.
const (
	recordJob      = 'J' // JSON of jobRecord; the first record
	recordProgress = 'P' // slot, and check values of further blocks that are written
	recordCommit   = 'C' // slot, digest; all of it is written, its check values are known
	recordReset    = 'R' // slot: forget what was recorded
	recordMeta     = 'M' // a head blob
)

const (
	maxRecord     = MaxMeta + 1<<10
	recordFrame   = 8
	maxPerRecord  = 1 << 16 // check values in one record
	slotFieldSize = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// jobRecord identifies what the directory is being filled with.
type jobRecord struct {
	Format     int           `json:"format"`
	Name       string        `json:"name"`
	Job        digest.Digest `json:"job"` // of the lock
	VolumeSize int64         `json:"volumeSize"`
	Slots      digest.Digest `json:"slots"` // of the list of slots
}

// OtherJobError says that a directory is being filled, or was filled, with
// something else. It matches ErrOtherJob.
type OtherJobError struct {
	Dir        string
	Here, Want string // descriptions of both jobs
}

func (e *OtherJobError) Error() string {
	return fmt.Sprintf("%s: %v: it has %s, asked for %s", e.Dir, ErrOtherJob, e.Here, e.Want)
}

func (e *OtherJobError) Is(target error) bool { return target == ErrOtherJob }

func (j jobRecord) String() string {
	return fmt.Sprintf("%s of lock %s in volumes of %d bytes (format %d, slots %s)", j.Name, j.Job, j.VolumeSize, j.Format, j.Slots)
}

// openJournal opens and locks the journal of a name; empty says that it has no
// good first record, so nothing was written yet.
func openJournal(dir, name string, noSync bool) (*journal, error) {
	path := filepath.Join(dir, journalName(name))
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, fmt.Errorf("opening journal: %w", err)
		}
		same, err := lockFile(f, path)
		if err == nil && same {
			return &journal{file: f, noSync: noSync, metas: map[sum]metaPlace{}}, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// lockFile locks f and reports whether path still names it: a writer that
// finished in between has removed it.
func lockFile(f *os.File, path string) (same bool, err error) {
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, fmt.Errorf("%s: %w", filepath.Dir(path), ErrBusy)
	}
	if err != nil {
		return false, fmt.Errorf("locking journal: %w", err)
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, named), err
}

// replayer takes what a journal says, in order.
type replayer interface {
	replayJob(jobRecord) error
	replayProgress(slot int, values []sum) bool
	replayCommit(slot int, d sum) bool
	replayReset(slot int) bool
}

// replayRecords reads the journal and cuts off its torn tail. A record that makes no
// sense ends the reading like a torn one. It reports whether there was a job
// record.
func (j *journal) replayRecords(r replayer) (started bool, err error) {
	for {
		body, err := j.readRecord()
		if err == io.EOF {
			return started, j.cutTail()
		}
		if err != nil {
			return started, fmt.Errorf("reading journal: %w", err)
		}
		ok, err := j.applyRecord(body, r, !started)
		if err != nil {
			return started, err
		}
		if !ok {
			return started, j.cutTail()
		}
		started = true
		j.end += int64(len(body)) + recordFrame
	}
}

// readRecord returns the next record's body; io.EOF where good records end.
func (j *journal) readRecord() ([]byte, error) {
	var frame [4]byte
	if _, err := j.file.ReadAt(frame[:], j.end); err != nil {
		return nil, eofOr(err)
	}
	n := binary.LittleEndian.Uint32(frame[:])
	if n == 0 || n > maxRecord {
		return nil, io.EOF
	}
	body := make([]byte, n+4)
	if _, err := j.file.ReadAt(body, j.end+4); err != nil {
		return nil, eofOr(err)
	}
	body, check := body[:n], body[n:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(check) {
		return nil, io.EOF
	}
	return body, nil
}

func eofOr(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}

// applyRecord hands a record on; false if it makes no sense here.
func (j *journal) applyRecord(body []byte, r replayer, first bool) (bool, error) {
	kind, rest := body[0], body[1:]
	if first != (kind == recordJob) {
		return false, nil
	}
	switch kind {
	case recordJob:
		var job jobRecord
		if json.Unmarshal(rest, &job) != nil {
			return false, nil
		}
		return true, r.replayJob(job)
	case recordMeta:
		j.metas[sumOf(rest)] = metaPlace{j.end + 5, int64(len(rest))}
		return true, nil
	}
	return applySlot(kind, rest, r), nil
}

func applySlot(kind byte, rest []byte, r replayer) bool {
	if len(rest) < slotFieldSize {
		return false
	}
	slot := int(binary.LittleEndian.Uint32(rest))
	values, ok := splitSums(rest[slotFieldSize:])
	switch {
	case ok && kind == recordProgress:
		return r.replayProgress(slot, values)
	case ok && kind == recordCommit && len(values) == 1:
		return r.replayCommit(slot, values[0])
	case ok && kind == recordReset && len(values) == 0:
		return r.replayReset(slot)
	}
	return false
}

func splitSums(b []byte) ([]sum, bool) {
	if len(b)%len(sum{}) != 0 {
		return nil, false
	}
	values := make([]sum, len(b)/len(sum{}))
	for i := range values {
		copy(values[i][:], b[i*len(sum{}):])
	}
	return values, true
}

func (j *journal) cutTail() error {
	if err := j.file.Truncate(j.end); err != nil {
		return fmt.Errorf("cutting journal: %w", err)
	}
	return nil
}

// appendRecord adds one record; sync makes it durable. It returns where the record
// ends.
func (j *journal) appendRecord(kind byte, body ...[]byte) (end int64, err error) {
	record := []byte{0, 0, 0, 0, kind}
	for _, b := range body {
		record = append(record, b...)
	}
	n := len(record) - 4
	if n > maxRecord {
		return 0, formatError("journal record of %d bytes", n)
	}
	binary.LittleEndian.PutUint32(record, uint32(n))
	record = binary.LittleEndian.AppendUint32(record, crc32.Checksum(record[4:], castagnoli))
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.WriteAt(record, j.end); err != nil {
		return 0, fmt.Errorf("writing journal: %w", err)
	}
	j.end += int64(len(record))
	return j.end, nil
}

func (j *journal) startJob(job jobRecord) error {
	b, err := canonicalJSON(job)
	if err != nil {
		return err
	}
	if _, err := j.appendRecord(recordJob, b); err != nil {
		return err
	}
	return j.sync()
}

func slotField(slot int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(slot)) }

func (j *journal) appendProgress(slot int, values []sum) error {
	for len(values) > 0 {
		n := min(len(values), maxPerRecord)
		body := make([]byte, 0, n*len(sum{}))
		for _, v := range values[:n] {
			body = append(body, v[:]...)
		}
		if _, err := j.appendRecord(recordProgress, slotField(slot), body); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

func (j *journal) appendCommit(slot int, d sum) error {
	_, err := j.appendRecord(recordCommit, slotField(slot), d[:])
	return err
}

func (j *journal) appendReset(slot int) error {
	_, err := j.appendRecord(recordReset, slotField(slot))
	return err
}

// putMeta keeps a head blob once.
func (j *journal) putMeta(b []byte) (sum, error) {
	s := sumOf(b)
	j.mu.Lock()
	_, known := j.metas[s]
	j.mu.Unlock()
	if known {
		return s, nil
	}
	if len(b) > MaxMeta {
		return s, formatError("head blob %s of %d bytes, at most %d are allowed", s.digest(), len(b), MaxMeta)
	}
	end, err := j.appendRecord(recordMeta, b)
	if err != nil {
		return s, err
	}
	j.mu.Lock()
	j.metas[s] = metaPlace{end - 4 - int64(len(b)), int64(len(b))}
	j.mu.Unlock()
	return s, nil
}

// readHeadBlob returns a head blob, proven.
func (j *journal) readHeadBlob(s sum) ([]byte, bool) {
	j.mu.Lock()
	m, ok := j.metas[s]
	j.mu.Unlock()
	if !ok {
		return nil, false
	}
	b := make([]byte, m.size)
	if _, err := j.file.ReadAt(b, m.offset); err != nil || sumOf(b) != s {
		return nil, false
	}
	return b, true
}

func (j *journal) sync() error {
	if j.noSync {
		return nil
	}
	if err := dataSync(j.file); err != nil {
		return fmt.Errorf("syncing journal: %w", err)
	}
	return nil
}

// close keeps the journal for a later resume.
func (j *journal) close() error { return j.file.Close() }

// remove ends the journal: the head has taken its role.
func (j *journal) remove() error {
	path := j.file.Name()
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing journal: %w", err)
	}
	return syncDirectory(filepath.Dir(path))
}

// restartWith forgets everything but the job.
func (j *journal) restartWith(job jobRecord) error {
	j.end, j.metas = 0, map[sum]metaPlace{}
	if err := j.cutTail(); err != nil {
		return err
	}
	return j.startJob(job)
}

// removeIfEmpty removes a journal in which nothing was recorded.
func (j *journal) removeIfEmpty() {
	if info, err := j.file.Stat(); err == nil && info.Size() == 0 {
		_ = os.Remove(j.file.Name())
	}
}
