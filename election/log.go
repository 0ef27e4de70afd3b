package election

import (
	"context"
	"log/slog"
)

// log logs msg with the keys that every record has. It does nothing without a Logger.
func (e *Election) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if e.Logger == nil {
		return
	}
	attrs = append([]slog.Attr{slog.String("key", e.Lock.Key), slog.String("owner", e.owner())}, attrs...)
	e.Logger.LogAttrs(context.Background(), level, msg, attrs...)
}

// logFailed logs that an attempt has failed because of err.
func (e *Election) logFailed(err error) {
	e.log(slog.LevelWarn, "attempt failed", slog.Any("err", err))
}
