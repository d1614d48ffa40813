package builder

import (
	"godwit/internal/builder/machines"
	"godwit/internal/fault"
	"godwit/internal/settings"
)

// Settings are what a person decided about builders for all fleets.
type Settings struct {
	// Default is used for hosts that do not choose: "auto", "local", "nix",
	// "container", "target" or a store.
	Default string
	Engine  string // "docker", "podman", "nerdctl"; "": the first that works
	Image   string // reference of the container builder's image; "": DefaultImage
	// ImageFile is a docker-archive that is loaded when the engine does not know
	// Image, or, without Image, that is the image.
	ImageFile string
	// Network is the container's network: "" (the engine's default) or "none".
	Network string
	// SSH are further builders.
	SSH []SSHStore
}

// SettingsFrom takes what is about builders out of the user's file.
func SettingsFrom(all *settings.Settings) (Settings, error) {
	b, file := all.Builder, all.File()
	s := Settings{Default: b.Default, Engine: b.Engine, Image: b.Image, ImageFile: b.ImageFile, Network: b.Network}
	if s.Network != "" && s.Network != "none" && s.Network != "default" {
		return s, fault.New("%s: builder.network is %q", file, s.Network).Hint(`use "none" or "default"`)
	}
	if s.Network == "default" {
		s.Network = ""
	}
	for _, e := range b.SSH {
		if _, err := machines.ParseStoreURI(e.URI); err != nil {
			return s, fault.New("%s: builder.ssh: %s", file, err).Because(err)
		}
		if len(e.Systems) == 0 {
			return s, fault.New("%s: builder.ssh: %s names no systems", file, e.URI).Hint(`add a line such as: systems = ["aarch64-linux"]`)
		}
		s.SSH = append(s.SSH, SSHStore{URI: e.URI, Systems: e.Systems, Features: e.Features})
	}
	return s, nil
}
