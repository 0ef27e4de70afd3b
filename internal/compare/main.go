// Command compare measures this project and other libraries for locks and leader
// election, side by side, on servers that it starts itself. It needs Linux, and
// redis-server 7.0 or later on the PATH.
//
//	go run .                                  about 15 minutes
//	go run . -quick                           less than a minute
//	go run . -scenarios hand-over -peers floor,rueidislock,setlock/election
//
// docs/benchmarks.md tells what each scenario measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"example.com/setlock/internal/compare/report"
	"example.com/setlock/internal/compare/server"
)

func main() {
	server.ServeEtcd()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// run does what args say. It prints the tables to stdout.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := ParseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	var r *report.Results
	if o.From != "" {
		r, err = report.Read(o.From)
	} else {
		r, err = measure(ctx, o, stderr)
	}
	if err != nil {
		return err
	}
	fmt.Fprint(stdout, r.Markdown())
	if o.From == "" {
		if err := write(o.Out, r, stderr); err != nil {
			return err
		}
	}
	if o.Page != "" {
		page, err := os.ReadFile(o.Page)
		if err != nil {
			return err
		}
		if page, err = r.Fill(page); err != nil {
			return fmt.Errorf("%s: %w", o.Page, err)
		}
		if err := os.WriteFile(o.Page, page, 0o644); err != nil {
			return err
		}
	}
	if o.SVG != "" {
		return os.WriteFile(o.SVG, r.SVG(), 0o644)
	}
	return nil
}

// write writes results.json into dir. An empty dir is a new folder.
func write(dir string, r *report.Results, stderr io.Writer) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "compare"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "results.json")
	fmt.Fprintln(stderr, "results:", path)
	return os.WriteFile(path, data, 0o644)
}
