// Package redispool makes the pool of connections that a lock needs, from a URL.
//
//	config, err := redispool.ParseURL(os.Getenv("REDIS_URL"))
//	if err != nil {
//		return err
//	}
//	config.Key = "scheduler" // the key of the lock, for a Redis Cluster
//	pool, err := config.Pool()
//	if err != nil {
//		return err
//	}
//	e := &election.Election{Lock: &setlock.Lock{Key: "scheduler", Pool: pool}}
//
// The pool is a [redis.Pool] of redigo. Its time-outs suit a lock.
//
// # URLs
//
// The URLs are those that go-redis reads with its functions ParseURL, ParseFailoverURL and
// ParseClusterURL:
//
//	redis://user:password@localhost:6379/0
//	rediss://user:password@redis.example.com:6380/0?skip_verify=false
//	unix://user:password@/run/redis.sock?db=0
//	redis://10.0.0.1:26379/0?master_name=mymaster&addr=10.0.0.2:26379&addr=10.0.0.3:26379
//	redis://user:password@10.0.0.1:6379?addr=10.0.0.2:6379&addr=10.0.0.3:6379
//
// The first URL is for one server, the second for one server with TLS, and the third for a
// unix socket. The host is localhost and the port is 6379 if the URL has none.
//
// With master_name, the URL is for Redis Sentinel, and the host and every addr are sentinels.
// The user and the password before the host are for the sentinels. The user and the password
// for Redis are the parameters username and password.
//
// With addr and without master_name, the URL is for a Redis Cluster, and the host and every
// addr are nodes of it. A URL with one node needs no addr. The program must set
// [Config.Key] for a Cluster.
//
// With rediss, the certificates of all servers must match the host of the URL, as with
// go-redis. A program can change that, and give its own certificates, in [Config.TLS].
//
// # Parameters
//
// These parameters have an effect:
//
//   - master_name, addr, username, password: described in the part about URLs.
//   - db: the number of the database. It replaces the number in the path.
//   - client_name: the name of the connections in CLIENT LIST.
//   - skip_verify: true turns off the check of certificates. Only with rediss.
//   - dial_timeout, read_timeout, write_timeout: see the fields of [Config].
//   - pool_size or max_idle_conns: [Config.MaxIdle].
//   - max_active_conns: [Config.MaxActive].
//   - conn_max_idle_time or idle_timeout: [Config.IdleTimeout].
//   - conn_max_lifetime or max_conn_age: [Config.MaxConnLifetime].
//
// A duration is a number of seconds, or has a unit, as in 500ms. A duration of 0 or less turns
// the limit off, which dial_timeout refuses. An empty value is the default. The defaults are
// those of [Config], not those of go-redis.
//
// The other parameters of go-redis have no counterpart here, and no effect. They are
// accepted if their values are valid. The exception is replica_only=true, which is an error,
// because a lock works on the primary only. Any other parameter is an error.
//
// # Dials
//
// A dial ends when its context ends, and after [Config.DialTimeout] at the latest.
//
// With Sentinel, a dial asks all sentinels at once for the primary. The sentinel that answered
// last is asked a moment earlier. So a sentinel that hangs costs nothing. The server that a
// sentinel names must confirm by ROLE that it is a primary. While this server hangs, the
// sentinels are asked again and again, so that a dial finds the new primary as soon as a
// sentinel knows it.
//
// In a Cluster, a dial asks all nodes that it knows at once to read the key, and goes where
// they point to. The node that served last is asked a moment earlier. After the first dial the
// pool also knows the replicas that may take over the key, because it asks CLUSTER SLOTS. A
// pool leads to the node of one key. So locks in different slots need different pools.
//
// After a failover, setlock does not use a connection again on which the old primary has
// answered that it does not serve any more. So the pool dials anew.
//
// # Rights
//
// A user that Redis restricts needs the right to ROLE with Sentinel, to SELECT if the database
// is not 0, and to CLIENT SETNAME if there is a client name. On a Cluster, CLUSTER SLOTS is
// useful: without it, the pool knows only the nodes of the URL, and the node that served
// last. The user of the sentinels needs SENTINEL get-master-addr-by-name.
//
// # Secrets
//
// No error of this package has a password in it, and the text of a [Config] has no user and
// no password.
package redispool
