package vaultverbs

import (
	"encoding/json"
	"testing"

	"godwit/internal/fleet"
)

// list-secrets prints what morph prints, as text and as JSON.
func TestSecretsList(t *testing.T) {
	const dir = "/somewhere"
	hosts := []fleet.Host{
		{Name: "web", Secrets: []fleet.Secret{
			{Name: "one", From: fleet.Content{File: dir + "/a file"}, FileGiven: "./a file", Destination: "/run/one", User: "root", Group: "root",
				Permissions: "0400", Action: []string{}, MkDirs: true, UploadAt: "pre-activation"},
			{Name: "two", From: fleet.Content{File: "/abs/<two>"}, FileGiven: "/abs/<two>", Destination: "/run/two", User: "u", Group: "g", Permissions: "0440",
				Action: []string{"systemctl", "restart", "x y"}, UploadAt: "post-activation"},
		}},
		{Name: "h1.example.org"},
	}
	text := SecretsText(hosts)
	wantText := "Secrets for host web:\n" +
		"one:\n- `./a file` -> `/run/one`, with:\n\tPermissions: root:root, 0400\n\tCreate remote directories: true\n\tUpload at: pre-activation\n" +
		"two:\n- `/abs/<two>` -> `/run/two`, with:\n\tPermissions: u:g, 0440\n\tCreate remote directories: false\n\tUpload at: post-activation\n\tAction: `systemctl restart x y`\n" +
		"\nSecrets for host h1.example.org:\n\n"
	if text != wantText {
		t.Errorf("got %q\nwant %q", text, wantText)
	}
	js, err := json.MarshalIndent(SecretsJSON(hosts), "", "  ") // as the report is printed
	wantJSON := `{
  "h1.example.org": {},
  "web": {
    "one": {
      "Source": "` + dir + `/a file",
      "Destination": "/run/one",
      "Owner": {
        "Group": "root",
        "User": "root"
      },
      "Permissions": "0400",
      "Action": [],
      "MkDirs": true,
      "UploadAt": "pre-activation"
    },
    "two": {
      "Source": "/abs/\u003ctwo\u003e",
      "Destination": "/run/two",
      "Owner": {
        "Group": "g",
        "User": "u"
      },
      "Permissions": "0440",
      "Action": [
        "systemctl",
        "restart",
        "x y"
      ],
      "MkDirs": false,
      "UploadAt": "post-activation"
    }
  }
}
`
	if err != nil || string(js)+"\n" != wantJSON {
		t.Errorf("got %s\nwant %s", js, wantJSON)
	}
}
