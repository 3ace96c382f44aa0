package conn_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/etcdx/etcdx/pkg/conn"
)

// Servers see the same :authority as with plain clientv3, whose TestAuthority in etcd's own suite looks at it.
func TestAuthority(t *testing.T) {
	seen := make(chan string, 100)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		seen <- strings.Join(md.Get(":authority"), ",")
		return status.Error(codes.InvalidArgument, "enough")
	}))
	defer srv.Stop()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	dir, err := os.MkdirTemp("", "etcdx") //nolint:usetesting // t.TempDir's names are too long for sockets
	check(t, err)
	defer os.RemoveAll(dir)
	t.Chdir(dir)
	local, err := net.Listen("unix", "localhost:2379")
	check(t, err)
	for _, ln := range []net.Listener{tcp, local} {
		go func() { _ = srv.Serve(ln) }()
	}
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	for _, e := range []string{
		tcp.Addr().String(), "http://" + tcp.Addr().String(), "http://localhost:" + port, "localhost:" + port,
		"unix:localhost:2379", "unix://localhost:2379", "unix://" + filepath.Join(dir, "localhost:2379"),
	} {
		t.Run(e, func(t *testing.T) {
			cl, err := clientv3.New(clientv3.Config{Endpoints: []string{e}, Logger: zap.NewNop()})
			check(t, err)
			defer cl.Close()
			_, _ = cl.Get(within(t, 2*time.Second), "k")
			c := open(t, conn.Options{Endpoints: []string{e}, TLS: conn.TLS{Insecure: true}})
			_, err = c.Get(within(t, 2*time.Second), "k")
			if status.Code(err) != codes.InvalidArgument {
				t.Fatalf("got %v", err)
			}
			want, got := <-seen, <-seen
			if got != want || got == "" {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
