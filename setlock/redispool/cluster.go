package redispool

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gomodule/redigo/redis"
)

// nodes are the place where the node of a Redis Cluster is found that serves a key. One
// server that is not in a Cluster serves every key.
type nodes struct {
	key    string
	addrs  []string // as configured
	server *connector

	mu      sync.Mutex
	cluster bool     // a node has answered as only a node of a Cluster does
	mute    bool     // a node has refused to tell which nodes there are: it is not asked again
	learned []string // the nodes that serve the slot of key, and their replicas
}

// what returns "" for one server that is not known to be a node of a Cluster.
func (n *nodes) what() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.addrs) == 1 && !n.cluster {
		return ""
	}
	return fmt.Sprintf("node that serves %q", n.key)
}

// guides returns the nodes as configured, and the nodes that may serve key after a failover.
func (n *nodes) guides() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Concat(n.addrs, n.learned)
}

// visit asks a node to read key. A node that does not serve key answers which node does.
func (n *nodes) visit(ctx context.Context, t target) (answer, error) {
	questions := []command{newCommand("PTTL", n.key)}
	if n.asksSlots() {
		questions = append(questions, newCommand("CLUSTER", "SLOTS"))
	}
	conn, replies, err := n.server.connect(ctx, t.addr, questions...)
	if err != nil {
		return answer{}, err
	}
	if len(replies) > 1 {
		n.learn(replies[1], t.addr)
	}
	refusal, _ := replies[0].(redis.Error)
	kind, _, _ := strings.Cut(string(refusal), " ")
	switch kind {
	case "", "ASK": // a node that answers ASK serves the key until its slot has moved
		return answer{conn: conn}, nil
	case "MOVED":
		n.setCluster()
		conn.Close()
		if addr, ok := parseMoved(string(refusal), t.addr); ok {
			return answer{next: []target{{addr: addr}}}, nil
		}
	}
	conn.Close()
	return answer{}, unexpected(t.addr, "PTTL", refusal)
}

func (n *nodes) asksSlots() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.mute
}

func (n *nodes) setCluster() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cluster = true
}

// learn keeps which nodes serve the slot of key, from the reply of the node at addr to
// CLUSTER SLOTS.
func (n *nodes) learn(reply any, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if asError(reply) != nil {
		n.mute = true
		return
	}
	n.cluster = true
	if learned := parseSlots(reply, slot(n.key), addr); len(learned) > 0 {
		n.learned = learned
	}
}

// parseMoved returns the address in the answer "MOVED slot host:port" of the node at from.
func parseMoved(refusal, from string) (addr string, ok bool) {
	fields := strings.Fields(refusal)
	if len(fields) != 3 {
		return "", false
	}
	colon := strings.LastIndexByte(fields[2], ':') // there are no brackets around an IPv6 address
	if colon < 0 {
		return "", false
	}
	return nodeAddr(fields[2][:colon], fields[2][colon+1:], from)
}

// parseSlots returns the addresses of the nodes that serve slot, and of their replicas, from
// the reply of the node at from to CLUSTER SLOTS.
func parseSlots(reply any, slot int64, from string) (addrs []string) {
	ranges, _ := reply.([]any)
	for _, r := range ranges {
		fields, _ := r.([]any) // first slot, last slot, node ...
		if len(fields) < 3 {
			continue
		}
		first, ok1 := fields[0].(int64)
		last, ok2 := fields[1].(int64)
		if !ok1 || !ok2 || slot < first || slot > last {
			continue
		}
		for _, f := range fields[2:] {
			node, _ := f.([]any) // host, port, ...
			if len(node) < 2 {
				continue
			}
			host, _ := node[0].([]byte)
			port, _ := node[1].(int64)
			if addr, ok := nodeAddr(string(host), strconv.FormatInt(port, 10), from); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

// nodeAddr returns the address of a node that the node at from has named. A node that does
// not know the host of another one, or does not tell, names none: the host is then that of
// from.
func nodeAddr(host, port, from string) (addr string, ok bool) {
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(from)
	}
	addr, err := parseAddr(net.JoinHostPort(host, port))
	return addr, err == nil
}
