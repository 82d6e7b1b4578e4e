package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// train adds up the ranks of all processes, each plus one, over the network: the
// first listens, the others send it theirs. It reads what Trainer tells torchrun.
func train() error {
	count, err := strconv.Atoi(os.Getenv("PET_NNODES"))
	if err != nil {
		return err
	}
	rank, err := strconv.Atoi(os.Getenv("PET_NODE_RANK"))
	if err != nil {
		return err
	}
	port := os.Getenv("PET_MASTER_PORT")
	if rank != 0 {
		return send(net.JoinHostPort(os.Getenv("PET_MASTER_ADDR"), port), rank+1)
	}
	sum, err := collect(":"+port, count-1)
	if err == nil {
		fmt.Printf("%d processes make %d\n", count, sum+1)
	}
	return err
}

// collect adds up what so many others send.
func collect(address string, others int) (int, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	sum := 0
	for range others {
		conn, err := listener.Accept()
		if err != nil {
			return 0, err
		}
		var part int
		if _, err := fmt.Fscan(conn, &part); err != nil {
			return 0, err
		}
		sum += part
		fmt.Fprintln(conn, "taken")
		conn.Close()
	}
	return sum, nil
}

// send sends a number, once the first process is there.
func send(address string, number int) error {
	deadline := time.After(2 * time.Minute)
	for {
		err := trySend(address, number)
		if err == nil {
			fmt.Printf("sent %d to %s\n", number, address)
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func trySend(address string, number int) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(conn, number)
	var reply string
	_, err = fmt.Fscan(conn, &reply)
	return err
}
