package main

import (
	"os"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// deployment returns deployment.yml. As with kubectl apply --validate=strict, a field that the type of
// Kubernetes does not have is an error, and so is a field that is there twice.
func deployment(t *testing.T) (apps.Deployment, core.Container) {
	t.Helper()
	text, err := os.ReadFile("deployment.yml")
	if err != nil {
		t.Fatal(err)
	}
	var d apps.Deployment
	if err := yaml.UnmarshalStrict(text, &d); err != nil {
		t.Fatal(err)
	}
	if n := len(d.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%d containers, want 1", n)
	}
	return d, d.Spec.Template.Spec.Containers[0]
}

func gracePeriod(t *testing.T) time.Duration {
	t.Helper()
	d, c := deployment(t)
	return time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds-c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
}

// What Kubernetes requires beyond the types of the fields.
func TestDeployment(t *testing.T) {
	d, c := deployment(t)
	if d.APIVersion != "apps/v1" || d.Kind != "Deployment" || d.Name == "" || c.Name == "" || c.Image == "" {
		t.Errorf("a required field is missing or wrong in %s %s %q, container %q, image %q", d.APIVersion, d.Kind, d.Name, c.Name, c.Image)
	}
	if len(d.Spec.Selector.MatchLabels) == 0 {
		t.Error("no selector")
	}
	for name, value := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[name] != value {
			t.Errorf("the pods lack the label %s=%s of the selector", name, value)
		}
	}
	if *d.Spec.Replicas < 2 {
		t.Error("no other replica can take over")
	}
	for _, e := range c.Env {
		if (e.Value == "") == (e.ValueFrom == nil) {
			t.Errorf("%s needs either a value or a source", e.Name)
		}
	}
}

// The times of the manifest are long enough for the program.
func TestGracePeriod(t *testing.T) {
	if need := workEnds + lease/6 + httpEnds; gracePeriod(t) <= need {
		t.Errorf("from SIGTERM to SIGKILL there are %v, want more than %v", gracePeriod(t), need)
	}
	_, c := deployment(t)
	if g := c.LivenessProbe.TerminationGracePeriodSeconds; g == nil || *g > int64(lease/10/time.Second) {
		t.Error("a process that is overdue is given more time than it needs to be killed")
	}
}

// The probes ask what the program serves, where it serves.
func TestProbesOfDeployment(t *testing.T) {
	_, c := deployment(t)
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	if len(c.Ports) != 1 || c.Ports[0].ContainerPort != 8080 || env["LISTEN"] != ":8080" || !strings.HasSuffix(env["OWNER"], env["LISTEN"]) {
		t.Errorf("the ports %v, LISTEN %q and OWNER %q are not the same", c.Ports, env["LISTEN"], env["OWNER"])
	}
	for path, probe := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
			t.Errorf("the probe is %v, want one of %s on port %s", probe, path, c.Ports[0].Name)
		}
	}
}
