package main

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"example.com/setlock/internal/compare/report"
	"example.com/setlock/internal/compare/scenario"
	"example.com/setlock/internal/compare/server"
)

// measure starts the servers and runs the scenarios.
func measure(ctx context.Context, o Options, log io.Writer) (r *report.Results, err error) {
	redis, version, err := server.StartRedis()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()
	etcd, err := server.StartEtcd()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, etcd.Close()) }()
	r = &report.Results{
		Date:    time.Now().UTC().Format(time.DateOnly),
		Command: o.Command,
		CPU:     cpuModel(),
		Cores:   runtime.NumCPU(),
		System:  system(),
		Go:      strings.TrimPrefix(runtime.Version(), "go"),
		Redis:   version,
		Rounds:  o.Rounds,
	}
	for _, p := range o.Peers {
		r.Peers = append(r.Peers, report.Peer{
			Name: p.Name, Version: moduleVersion(p.Version), Waits: p.Waits, Tells: p.Tells, Floor: p.Floor, Ours: p.Ours,
		})
	}
	b := &scenario.Bench{Redis: redis, Etcd: etcd, Peers: o.Peers, Size: o.Size, Results: r, Log: log}
	for round := range o.Rounds {
		for _, s := range o.Scenarios {
			if err := s.Run(ctx, b, round); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// moduleVersion returns the version of a module that this program is built with, and ""
// if it is built without.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok || path == "" {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return ""
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

func system() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	release, _, _ := strings.Cut(strings.TrimSpace(string(data)), "-")
	return "Linux " + release
}
