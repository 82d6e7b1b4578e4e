package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reservePort finds a free loopback port and keeps it for this user's
// processes that bind it with SO_REUSEPORT, until this process ends. The
// socket never listens, so it takes no connection away from them. Nobody else
// can get the port, not even while the component that uses it is restarted.
func reservePort() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("reserving a port: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, fmt.Errorf("reserving a port: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("reserving a port: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("reserving a port: %w", err)
	}
	return name.(*unix.SockaddrInet4).Port, nil
}
