package builder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/BurntSushi/toml"

	"godwit/internal/fault"
	"godwit/internal/paths"
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

// ConfigFile is the user's file: $XDG_CONFIG_HOME/godwit/config.toml, on a Mac
// without that variable ~/Library/Application Support/godwit/config.toml when
// it is there, and ~/.config/godwit/config.toml.
func ConfigFile() (string, error) {
	if d := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "godwit", "config.toml"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	if runtime.GOOS == "darwin" { // where programs keep their files is a matter of the machine
		p := filepath.Join(home, "Library", "Application Support", "godwit", "config.toml")
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return filepath.Join(home, ".config", "godwit", "config.toml"), nil
}

// StateDir is where godwit remembers things on this machine. It exists
// afterwards and is private.
func StateDir() (string, error) { return paths.State() }

// LoadSettings reads the part of the user's file that is about builders:
//
//	[builder]
//	default = "auto"
//	engine = "podman"
//	image = "docker.io/nixos/nix:2.34.7"
//	image-file = "/path/to/image.tar"
//	network = "none"
//
//	[[builder.ssh]]
//	uri = "ssh-ng://me@big"
//	systems = ["aarch64-linux"]
//	features = ["big-parallel", "kvm"]
//
// A missing file is no settings. Other tables of the file are left alone.
func LoadSettings(file string) (Settings, error) {
	var f struct {
		Builder struct {
			Default   string `toml:"default"`
			Engine    string `toml:"engine"`
			Image     string `toml:"image"`
			ImageFile string `toml:"image-file"`
			Network   string `toml:"network"`
			SSH       []struct {
				URI      string   `toml:"uri"`
				Systems  []string `toml:"systems"`
				Features []string `toml:"features"`
			} `toml:"ssh"`
		} `toml:"builder"`
	}
	if file == "" {
		var err error
		if file, err = ConfigFile(); err != nil {
			return Settings{}, nil // no home directory: no file
		}
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, nil
	}
	if err != nil {
		return Settings{}, fault.New("cannot read %s: %s", file, err).Because(err)
	}
	md, err := toml.Decode(string(data), &f)
	if err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return Settings{}, fault.New("%s:%d: %s", file, pe.Position.Line, pe.Message).Because(err)
		}
		return Settings{}, fault.New("%s: %s", file, strings.TrimPrefix(err.Error(), "toml: ")).Because(err)
	}
	for _, k := range md.Undecoded() {
		if len(k) > 1 && k[0] == "builder" {
			return Settings{}, fault.New("%s: unknown setting %s", file, k).
				Hint("known: default, engine, image, image-file, network, and ssh with uri, systems, features")
		}
	}
	b := f.Builder
	s := Settings{Default: b.Default, Engine: b.Engine, Image: b.Image, ImageFile: b.ImageFile, Network: b.Network}
	if s.ImageFile != "" && !filepath.IsAbs(s.ImageFile) {
		s.ImageFile = filepath.Join(filepath.Dir(file), s.ImageFile)
	}
	if s.Network != "" && s.Network != "none" && s.Network != "default" {
		return s, fault.New("%s: builder.network is %q", file, s.Network).Hint(`use "none" or "default"`)
	}
	if s.Network == "default" {
		s.Network = ""
	}
	for _, e := range b.SSH {
		if _, err := ParseStoreURI(e.URI); err != nil {
			return s, fault.New("%s: builder.ssh: %s", file, err).Because(err)
		}
		if len(e.Systems) == 0 {
			return s, fault.New("%s: builder.ssh: %s names no systems", file, e.URI).Hint(`add a line such as: systems = ["aarch64-linux"]`)
		}
		s.SSH = append(s.SSH, SSHStore{URI: e.URI, Systems: e.Systems, Features: e.Features})
	}
	return s, nil
}
