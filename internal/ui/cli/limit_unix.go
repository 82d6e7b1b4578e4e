//go:build unix

package cli

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limitProcess bounds what this process may use from now on.
func limitProcess() error {
	for resource, most := range map[int]uint64{unix.RLIMIT_DATA: renderMemory, unix.RLIMIT_CPU: renderCPU, unix.RLIMIT_CORE: 0} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("bounding the process: %w", err)
		}
	}
	return nil
}
