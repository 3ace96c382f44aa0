package lab

import (
	"net"
	"sync"
	"time"
)

// network holds the faults between members and their clients, and the links they apply to.
type network struct {
	work sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]bool
	cuts   []Side          // by member: which of its links are silent
	delays []time.Duration // by member: how long each of its links holds back every byte
	losses []float64       // by member: the share of segments that each of its links loses
	ids    []string        // by member: its ID, as members introduce themselves to each other
	pids   []int           // by member: its process
	alone  int             // the process whose connections to members are silent, with those below it; 0: none
	closed bool
}

// Side says which links of a member a fault concerns.
type Side int

// The sides can be added up.
const (
	Peers Side = 1 << iota
	Clients
	All = Peers | Clients
)

func newNetwork(members int) *network {
	return &network{
		links: map[*link]bool{}, cuts: make([]Side, members), delays: make([]time.Duration, members), losses: make([]float64, members),
		ids: make([]string, members), pids: make([]int, members),
	}
}

// relay passes on what comes in on conn until either side has ended it.
func (n *network) relay(p *proxy, conn net.Conn) {
	l := &link{to: p.to, from: -1, peer: p.peer, in: conn, done: make(chan struct{}), gate: make(chan struct{})}
	close(l.gate)
	if !n.add(l) {
		return
	}
	defer n.remove(l)
	var first []byte
	if p.peer {
		var caller string
		if first, caller = readCaller(conn); len(first) == 0 {
			return
		}
		n.identify(l, caller)
	} else {
		n.isolate(l)
	}
	if !l.waitOpen() {
		return
	}
	out, err := net.Dial("tcp", p.where())
	if err != nil {
		reset(conn)
		return
	}
	if !l.connect(out) {
		return
	}
	l.run(first)
}

// add registers l under the faults of the moment; it returns false when the network is closed.
func (n *network) add(l *link) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = l.in.Close()
		return false
	}
	n.links[l] = true
	n.apply(l)
	return true
}

func (n *network) remove(l *link) {
	n.mu.Lock()
	delete(n.links, l)
	n.mu.Unlock()
	l.close()
}

// identify notes which member is at the calling end of l: caller is its ID, if it said so.
func (n *network) identify(l *link, caller string) {
	n.mu.Lock()
	pids := append([]int(nil), n.pids...)
	n.mu.Unlock()
	pid := -1
	if caller == "" {
		// Probes and forwarded lease renewals carry no ID.
		pid = owner(l.in, pids)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l.caller = caller
	for i := range n.pids {
		if pid > 0 && n.pids[i] == pid {
			l.from = i
		}
	}
	n.apply(l)
}

// isolate makes l, of a client, silent if it belongs to the process that is isolated, or to one below it.
func (n *network) isolate(l *link) {
	n.mu.Lock()
	alone := n.alone
	n.mu.Unlock()
	if alone == 0 || owner(l.in, Family(alone)) < 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l.alone = n.alone != 0 // it may have ended meanwhile
	n.apply(l)
}

// apply sets l to what the faults say. The caller holds n.mu.
func (n *network) apply(l *link) {
	if l.from < 0 && l.caller != "" {
		for i, id := range n.ids {
			if id == l.caller {
				l.from = i
			}
		}
	}
	side := Clients
	if l.peer {
		side = Peers
	}
	cut := l.alone || n.cuts[l.to]&side != 0
	delay, loss := n.delays[l.to], n.losses[l.to]
	if l.from >= 0 {
		cut = cut || n.cuts[l.from]&Peers != 0
		delay = max(delay, n.delays[l.from])
		loss = max(loss, n.losses[l.from])
	}
	l.set(cut, delay, loss)
}

// clients counts the connections of clients to member i. The caller holds n.mu.
func (n *network) clients(i int) int {
	count := 0
	for l := range n.links {
		if l.to == i && !l.peer {
			count++
		}
	}
	return count
}

// change alters the faults and applies them to all links.
func (n *network) change(alter func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	alter()
	for l := range n.links {
		n.apply(l)
	}
}

// reset breaks the links of member i, on both ends at once.
func (n *network) reset(i int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		if l.to == i || l.from == i {
			l.reset()
		}
	}
}

// close ends all links. The proxies' listeners are closed by it too.
func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	for l := range n.links {
		l.close()
	}
	n.mu.Unlock()
}
