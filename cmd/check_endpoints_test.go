package cmd

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdx/etcdx/pkg/conn"
)

// wellMember is a member as check-endpoints finds it when all is well.
func wellMember(endpoint string) endpointState {
	return endpointState{endpoint: endpoint, status: &clientv3.StatusResponse{
		Header: &pb.ResponseHeader{ClusterId: 1, MemberId: 2}, Leader: 2, RaftIndex: 10,
	}}
}

func TestClocksAreJudged(t *testing.T) {
	for _, c := range []struct {
		name        string
		least, most time.Duration
		text        string
		well        bool
	}{
		{"as good as it gets", -400 * time.Millisecond, 620 * time.Millisecond, "within 0.6s", true},
		{"ahead, but not by much", 3 * time.Second, 4 * time.Second, "3.5s ahead", true},
		{"perhaps too far ahead", 4900 * time.Millisecond, 5900 * time.Millisecond, "5.4s ahead", true},
		{"ahead", time.Hour, time.Hour + time.Second, "1h0m0.5s ahead", false},
		{"behind", -61 * time.Second, -60 * time.Second, "1m0.5s behind", false},
	} {
		s := wellMember("a:1")
		s.clock = &conn.ClockDifference{Least: c.least, Most: c.most}
		r := checkEndpointsOptions{maxLag: 1000, maxClock: 5 * time.Second}.judge([]endpointState{s})[0]
		if r.clockText() != c.text || r.Healthy != c.well {
			t.Errorf("%s: %q, well: %v (%s)", c.name, r.clockText(), r.Healthy, r.Problem)
		}
	}
}

func TestNagiosEndpoints(t *testing.T) {
	well, dead, lost := wellMember("a:1"), endpointState{endpoint: "b:1", err: context.DeadlineExceeded}, wellMember("c:1")
	lost.status.Leader = 0
	other := wellMember("d:1")
	other.status.Header = &pb.ResponseHeader{ClusterId: 9, MemberId: 2}
	for _, c := range []struct {
		states []endpointState
		word   string
		code   int
	}{
		{[]endpointState{well, well}, "OK - 2 of 2", 0},
		{[]endpointState{well, dead, well}, "WARNING - 2 of 3", 1},
		{[]endpointState{well, dead}, "CRITICAL - 1 of 2", 2},
		{[]endpointState{dead}, "CRITICAL - 0 of 1", 2},
		{[]endpointState{lost, lost}, "CRITICAL - 0 of 2", 2},
		{[]endpointState{well, well, other}, "CRITICAL - 0 of 3", 2},
	} {
		var out bytes.Buffer
		code := 0
		if err := nagiosEndpoints(&out, checkEndpointsOptions{maxLag: 1000}.judge(c.states)); err != nil {
			code, _ = classify(err)
		}
		if code != c.code || !strings.HasPrefix(out.String(), "ETCDX "+c.word) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("code %d, want %d; %q, want %q", code, c.code, out.String(), c.word)
		}
	}
}
