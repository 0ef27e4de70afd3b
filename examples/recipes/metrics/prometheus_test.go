package metrics_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"example.com/setlock/examples/recipes/internal/recipetest"
)

// A prometheus is a Prometheus server that scrapes targets five times a second.
type prometheus struct{ address string }

// startPrometheus starts a Prometheus that ends with t. Its rules are alerts.yml with the times that
// the comments there give for lease.
func startPrometheus(t *testing.T, lease string, targets ...string) *prometheus {
	t.Helper()
	program := recipetest.Program(t, "prometheus", "prometheus")
	dir := t.TempDir()
	rules, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alerts.yml", strings.NewReplacer("for: 30s", "for: "+lease, "for: 15s", "for: 600ms").Replace(string(rules)))
	for range 5 { // another program may listen on the port
		p := &prometheus{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))}
		write("prometheus.yml", fmt.Sprintf("global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"+
			"rule_files: [alerts.yml]\n"+
			"scrape_configs:\n"+
			"  - {job_name: election, static_configs: [{targets: [%s]}]}\n"+
			"  - {job_name: prometheus, static_configs: [{targets: [%q]}]}\n", strings.Join(targets, ", "), p.address))
		cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"),
			"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
		cmd.Dir = dir
		server := recipetest.Start(t, cmd, syscall.SIGTERM)
		ready := false
		recipetest.Eventually(t, "Prometheus is ready or has ended", func() bool {
			select {
			case <-server.Exited():
				return true
			default:
			}
			response, err := http.Get("http://" + p.address + "/-/ready")
			if err != nil {
				return false
			}
			response.Body.Close()
			ready = response.StatusCode == http.StatusOK && strings.Contains(server.Output(), "ready to receive")
			return ready
		})
		if ready {
			t.Cleanup(http.DefaultClient.CloseIdleConnections)
			return p
		}
	}
	t.Fatal("Prometheus does not start")
	return nil
}

// query returns the labels and values of what expr selects, as in "alertname=NoLeader 1".
func (p *prometheus) query(t *testing.T, expr string) []string {
	t.Helper()
	response, err := http.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any // the time and the value
			}
		}
	}
	b, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v, %s", expr, err, b)
	}
	var all []string
	for _, r := range answer.Data.Result {
		text := ""
		for _, name := range []string{"alertname", "key", "how"} {
			if v := r.Metric[name]; v != "" {
				text += fmt.Sprintf("%s=%s ", name, v)
			}
		}
		all = append(all, text+fmt.Sprint(r.Value[1]))
	}
	return all
}

// fires reports whether an alert is firing.
func (p *prometheus) fires(t *testing.T, alert string) bool {
	t.Helper()
	return len(p.query(t, fmt.Sprintf(`ALERTS{alertname=%q, key="job", alertstate="firing"}`, alert))) > 0
}

// fired reports whether an alert has been firing in the last seconds.
func (p *prometheus) fired(t *testing.T, alert string, seconds int) bool {
	t.Helper()
	return len(p.query(t, fmt.Sprintf(`last_over_time(ALERTS{alertname=%q, key="job", alertstate="firing"}[%ds])`, alert, seconds))) > 0
}

// The rules are valid, and fire when they should and only then.
func TestRules(t *testing.T) {
	promtool := recipetest.Program(t, "prometheus", "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
