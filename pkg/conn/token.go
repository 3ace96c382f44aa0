package conn

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// token is one member's proof of who the user is. It is fetched when first needed: clientv3 alone would log in while the
// client is being made, and wait there for a member that is down. It also sends an old token along when it asks for a new one,
// which servers before 3.5 refuse for ever; here the question goes without.
type token struct {
	auth Auth
	turn chan struct{} // holds one item: whoever took it may look at the rest
	text string
	have bool
}

func newToken(a Auth) *token {
	t := &token{auth: a, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// get returns the token, logging in if there is none. It is empty where nobody logs in.
func (t *token) get(ctx context.Context, cc *grpc.ClientConn) (string, error) {
	if t.auth.Token != "" {
		return t.auth.Token, nil
	}
	if t.auth.User == "" || t.auth.Password == "" {
		return "", nil
	}
	select {
	case <-t.turn:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { t.turn <- struct{}{} }()
	if t.have {
		return t.text, nil
	}
	req := &pb.AuthenticateRequest{Name: t.auth.User, Password: t.auth.Password}
	resp, err := pb.NewAuthClient(cc).Authenticate(ctx, req, grpc.WaitForReady(false))
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled):
		t.text = "" // as etcdctl: a login that a cluster without authentication does not need is no error
	case err != nil:
		return "", err
	default:
		t.text = resp.Token
	}
	t.have = true
	return t.text, nil
}

// stale says whether err asks for a new token that can be had.
func (t *token) stale(err error) bool {
	if err == nil || !t.renewable() {
		return false
	}
	err = rpctypes.Error(err)
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) || errors.Is(err, rpctypes.ErrUserEmpty)
}

// drop forgets tok, unless another call has replaced it meanwhile.
func (t *token) drop(tok string) {
	<-t.turn
	defer func() { t.turn <- struct{}{} }()
	if t.have && t.text == tok {
		t.have = false
	}
}

// reset forgets the token, whatever it is: a stream does not say which one was refused.
func (t *token) reset() {
	<-t.turn
	t.have = false
	t.turn <- struct{}{}
}

// renewable says whether a new token can be had.
func (t *token) renewable() bool {
	return t.auth.Token == "" && t.auth.User != "" && t.auth.Password != ""
}
