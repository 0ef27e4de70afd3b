//go:build !unix

package main

import (
	"os"
	"os/exec"
)

// Without process groups, only the command itself is killed.

func ownGroup(*exec.Cmd)            {}
func terminate(p *os.Process)       { p.Kill() }
func killGroup(p *os.Process)       { p.Kill() }
func groupLives(*os.Process) bool   { return false }
func status(s *os.ProcessState) int { return s.ExitCode() }
