//go:build !linux

package bundle

import "os"

// dataSync makes a file's bytes and size durable.
func dataSync(f *os.File) error { return f.Sync() }

// readAhead tells the kernel what will be read soon.
func readAhead(*os.File, int64, int64) {}
