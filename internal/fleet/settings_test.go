package fleet

import (
	"strings"
	"testing"
	"time"
)

func TestSettings(t *testing.T) {
	s, err := ParseSettings([]byte(`{ "batch": 1, "maxFailures": "10%", "onFailure": "rollback", "together": true, "unreachable": "wait", "acceptRisks": ["dirty-tree"],
	  "healthChecks": { "tcp": [ { "port": 22 }, { "port": 80, "on": "web*", "host": "example.org", "period": 1, "timeout": 9, "description": "page" } ],
	    "unit": [ { "unit": "nginx", "on": [ "web1", "db" ] } ], "local": [ { "cmd": [ "./a", "b" ] } ] },
	  "preDeployChecks": { "failedUnits": [ { "ignore": [ "x*" ] } ], "cmd": [ { "cmd": [ "true" ] } ], "http": [ { "port": 1 } ] } }`), "/etc/fleet")
	if err != nil {
		t.Fatal(err)
	}
	if s.Batch != "1" || s.MaxFailures != "10%" || s.OnFailure != "rollback" || !s.Together || s.Unreachable != "wait" || len(s.AcceptRisks) != 1 {
		t.Errorf("%+v", s)
	}
	web := Host{Name: "web2", HealthChecks: Checks{TCP: []TCPCheck{{Port: 1}}}}
	s.Apply(&web)
	if c := web.HealthChecks; len(c.TCP) != 3 || len(c.Unit) != 0 || len(c.Local) != 1 || c.Len() != 4 || len(c.Cmd)+len(c.HTTP) != 0 ||
		c.TCP[1] != (TCPCheck{"port 22", "", 22, 2 * time.Second, 5 * time.Second}) || c.TCP[2] != (TCPCheck{"page", "example.org", 80, time.Second, 9 * time.Second}) ||
		c.Local[0].Dir != "/etc/fleet" || c.Local[0].Description != "./a b" {
		t.Errorf("%+v", c)
	}
	if c := web.PreDeployChecks; c.Len() != 3 || len(c.Cmd)+len(c.HTTP) != 2 || c.HTTP[0].Path != "/" || c.HTTP[0].Scheme != "http" || c.FailedUnits[0].Description != "no newly failed units" {
		t.Errorf("%+v", c)
	}
	db := Host{Name: "db"}
	s.Apply(&db)
	if c := db.HealthChecks; len(c.TCP) != 1 || len(c.Unit) != 1 {
		t.Errorf("%+v", c)
	}
	if err := s.Check([]string{"web1", "web2", "db"}); err != nil {
		t.Error(err)
	}
	if err := s.Check([]string{"db"}); err == nil || !strings.Contains(err.Error(), `no host matches on = "web*"`) {
		t.Error(err)
	}
	for _, empty := range []string{"", "null", "{}"} {
		if s, err := ParseSettings([]byte(empty), ""); err != nil || s.Batch != "" {
			t.Errorf("%q: %+v, %v", empty, s, err)
		}
	}
}

func TestSettingsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"bach":"1"}`:                                       "there is no bach: there is batch, maxFailures, onFailure, together, unreachable, acceptRisks, restSecrets, healthChecks, preDeployChecks (did you mean batch?)",
		`{"batch":"1,rest,2"}`:                               "batch: rest must come last",
		`{"batch":true}`:                                     "it does not take the type bool",
		`{"maxFailures":"x"}`:                                `maxFailures: "x" is neither`,
		`{"onFailure":"halt"}`:                               `onFailure: there is no "halt"`,
		`{"onFailure":"stopp"}`:                              "did you mean stop?",
		`{"unreachable":"skipp"}`:                            "did you mean skip?",
		`{"together":"yes"}`:                                 "together: it does not take the type string",
		`{"healthChecks":{"tcpp":[]}}`:                       "healthChecks: there are no tcpp checks: there is cmd, http, tcp, unit, failedUnits, local (did you mean tcp?)",
		`{"healthChecks":{"tcp":[{}]}}`:                      "healthChecks.tcp, number 1: it has no port",
		`{"healthChecks":{"unit":[{}]}}`:                     "it has no unit",
		`{"healthChecks":{"local":[{"cmd":[]}]}}`:            "it has no cmd",
		`{"preDeployChecks":{"tcp":[{"prot":1}]}}`:           "preDeployChecks.tcp, number 1: there is no prot: there is on, description, period, timeout, host, port (did you mean port?)",
		`{"healthChecks":{"unit":[{"unit":"a","on":"\\"}]}}`: "on: nothing follows the backslash",
		`[]`: "it does not take the type array",
	} {
		if _, err := ParseSettings([]byte(text), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
}
