package server

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"

	"go.etcd.io/etcd/server/v3/embed"
)

// The environment of a process that serves etcd.
const (
	etcdDir    = "SETLOCK_COMPARE_ETCD_DIR"
	etcdClient = "SETLOCK_COMPARE_ETCD_CLIENT"
	etcdPeer   = "SETLOCK_COMPARE_ETCD_PEER"
)

// StartEtcd starts this program again, as one member of etcd. The program must call
// ServeEtcd first.
func StartEtcd() (*Server, error) { return retry(startEtcd) }

func startEtcd() (*Server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	client, err := freePort()
	if err != nil {
		return nil, err
	}
	peer, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "compare-etcd")
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("http://127.0.0.1:%d", client)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), etcdDir+"="+dir, etcdClient+"="+addr, fmt.Sprintf("%s=http://127.0.0.1:%d", etcdPeer, peer))
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return start("etcd", addr, dir, cmd, func() error {
		r, err := web.Get(addr + "/health")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("health: %s", r.Status)
		}
		return nil
	})
}

// ServeEtcd serves etcd, and does not return, if StartEtcd started this process.
//
// Like Redis here, etcd does not sync to the disk. Its ticks are a tenth of the default,
// because etcd rounds a lease up to 1.5 times its election timeout.
func ServeEtcd() {
	dir := os.Getenv(etcdDir)
	if dir == "" {
		return
	}
	if err := serveEtcd(dir, os.Getenv(etcdClient), os.Getenv(etcdPeer)); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveEtcd(dir, client, peer string) error {
	c, err := url.Parse(client)
	if err != nil {
		return err
	}
	p, err := url.Parse(peer)
	if err != nil {
		return err
	}
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = dir, "error", []string{"/dev/null"}
	cfg.TickMs, cfg.ElectionMs, cfg.UnsafeNoFsync = 10, 100, true
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*c}, []url.URL{*c}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*p}, []url.URL{*p}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	<-e.Server.StopNotify()
	return nil
}
