package redispool_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/setlock/setlock"
	"example.com/setlock/setlock/redispool"
)

// A lock on the Redis of a URL.
func Example() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	config, err := redispool.ParseURL("redis://" + server.Addr() + "?dial_timeout=1s")
	if err != nil {
		log.Fatal(err)
	}
	config.Key = "nightly-report" // for a Redis Cluster; elsewhere it makes no difference
	pool, err := config.Pool()
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	l := &setlock.Lock{Key: config.Key, Pool: pool}
	err = l.Do(context.Background(), func(ctx context.Context) error {
		fmt.Println("reporting")
		return ctx.Err()
	})
	fmt.Println(err)
	// Output:
	// reporting
	// <nil>
}

func ExampleParseURL() {
	for _, url := range []string{
		"redis://app:secret@localhost:6379/3",
		"redis://10.0.0.1:26379?master_name=mymaster&addr=10.0.0.2:26379&username=app&password=secret",
		"redis://app:secret@localhost?dial_timeout=soon",
	} {
		config, err := redispool.ParseURL(url)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(config, config.Username)
	}
	// Output:
	// redis://localhost:6379?db=3 app
	// redis://10.0.0.1:26379?addr=10.0.0.2%3A26379&master_name=mymaster app
	// redispool: dial_timeout is not a duration; want, for example, dial_timeout=2s
}

// A pool for TLS with certificates of one's own.
func ExampleConfig_Pool_certificates() {
	config, err := redispool.ParseURL("rediss://app:secret@redis.example.com:6380")
	if err != nil {
		log.Fatal(err)
	}
	certificates, err := os.ReadFile("ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	config.TLS.RootCAs = x509.NewCertPool()
	if !config.TLS.RootCAs.AppendCertsFromPEM(certificates) {
		log.Fatal("ca.pem has no certificate")
	}
	pool, err := config.Pool()
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
}

// Sentinels that name addresses inside a network, for a process that reaches the servers by
// other addresses.
func ExampleConfig_Pool_dial() {
	outside := map[string]string{"172.17.0.2:6379": "localhost:16379"}
	config := redispool.Config{
		Addrs:      []string{"localhost:26379"},
		MasterName: "mymaster",
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if addr, ok := outside[address]; ok {
				address = addr
			}
			dialer := net.Dialer{KeepAlive: 10 * time.Second}
			return dialer.DialContext(ctx, network, address)
		},
	}
	pool, err := config.Pool()
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
}
