//go:build !unix

package main

import "testing"

func testCommand(t *testing.T, _ string)              { t.Skip("needs a shell") }
func testCommandTerminated(t *testing.T, _ string)    { t.Skip("needs a shell") }
func testCommandLost(t *testing.T, _ string)          { t.Skip("needs a shell") }
func testCommandWrapperKilled(t *testing.T, _ string) { t.Skip("needs a shell") }
func testDemoInTerminal(t *testing.T, _ string)       { t.Skip("needs process groups") }
