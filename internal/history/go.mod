module example.com/setlock/internal/history

go 1.25.0

require (
	example.com/setlock v0.0.0
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/anishathalye/porcupine v1.3.1
	github.com/gomodule/redigo v1.9.3
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.uber.org/goleak v1.3.0 // indirect
)

replace example.com/setlock => ../..
