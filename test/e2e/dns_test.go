package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// nameServer answers for the names of Services and counts every other name that
// anybody asks for. It speaks as much of RFC 1035 as one question takes.
type nameServer struct {
	mu       sync.Mutex
	services map[string]net.IP        // by NAME.NAMESPACE
	find     func(name string) net.IP // of names that are not among them, nil if there is none
	inside   int
	outside  []string
}

const clusterDomain = ".cluster.local"

func startNameServer(t *testing.T, address string) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	check(t, err)
	s := &nameServer{services: map[string]net.IP{}}
	go s.serve(conn)
	t.Cleanup(func() { _ = conn.Close() })
	return s
}

func (s *nameServer) serve(conn net.PacketConn) {
	buffer := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if reply := s.answer(buffer[:n]); reply != nil {
			_, _ = conn.WriteTo(reply, from)
		}
	}
}

// answer returns the reply to a query: an address, no address of that kind, or
// that there is no such name; nil for what is no query.
func (s *nameServer) answer(query []byte) []byte {
	name, kind, end := question(query)
	if end == 0 {
		return nil
	}
	ip, known := s.lookup(name)
	reply := slices.Clone(query[:end])
	binary.BigEndian.PutUint16(reply[2:], 0x8400|binary.BigEndian.Uint16(query[2:])&0x0100)
	for i := 6; i < 12; i++ {
		reply[i] = 0
	}
	const typeA = 1
	switch {
	case !known:
		reply[3] |= 3
	case kind == typeA:
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 1, 0, 4)
		reply = append(reply, ip.To4()...)
	}
	return reply
}

// question returns the one question of a query and where it ends, 0 for none.
func question(query []byte) (name string, kind uint16, end int) {
	if len(query) < 12 || query[2]&0x80 != 0 || binary.BigEndian.Uint16(query[4:]) != 1 {
		return "", 0, 0
	}
	var labels []string
	at := 12
	for at < len(query) && query[at] != 0 {
		next := at + 1 + int(query[at])
		if query[at] > 63 || next >= len(query) {
			return "", 0, 0
		}
		labels = append(labels, string(query[at+1:next]))
		at = next
	}
	if at+5 > len(query) {
		return "", 0, 0
	}
	return strings.ToLower(strings.Join(labels, ".")), binary.BigEndian.Uint16(query[at+1:]), at + 5
}

// lookup knows NAME.NAMESPACE.svc.cluster.local, and what find finds below
// svc.cluster.local. What else lies below cluster.local is a step of a search
// list; any other name is one outside.
func (s *nameServer) lookup(name string) (net.IP, bool) {
	if !s.count(name) {
		return nil, false
	}
	service, isService := strings.CutSuffix(name, ".svc"+clusterDomain)
	if !isService {
		return nil, false
	}
	s.mu.Lock()
	ip, find := s.services[service], s.find
	s.mu.Unlock()
	if ip == nil && find != nil {
		ip = find(service)
	}
	return ip, ip != nil
}

// count says whether a name lies inside.
func (s *nameServer) count(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasSuffix(name, clusterDomain) {
		s.inside++
		return true
	}
	s.outside = append(s.outside, name)
	return false
}

// ask makes it ask for what it does not know.
func (s *nameServer) ask(find func(name string) net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find = find
}

func (s *nameServer) set(service string, ip net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[service] = ip
}

// asked returns how often names inside were asked for, and the outside ones.
func (s *nameServer) asked() (int, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inside, slices.Clone(s.outside)
}
