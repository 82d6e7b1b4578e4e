//go:build !unix

package cli

// limitProcess bounds nothing where the system has no such bounds; whoever asked still
// ends the process in time.
func limitProcess() error { return nil }
