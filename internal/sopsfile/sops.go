// Package sopsfile reads files of sops (YAML, JSON, dotenv, INI, binary) whose data key is
// wrapped for keys of age, with the MAC verified. What needs a cloud, PGP or several
// groups of keys is left to the sops program itself.
//
// The format is that of sops 3.9 to 3.13: a leaf is ENC[AES256_GCM,data:…,iv:…,tag:…,type:…],
// authenticated with the path of its keys joined by ":"; the MAC is a SHA-512 over all
// plaintexts in the order of the document, itself encrypted with the time of the last
// change as authenticated data.
package sopsfile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Meta is what a file says of itself without a key.
type Meta struct {
	// Age are the recipients of age.
	Age []string
	// Others are kinds of keys that age has no part in: "kms", "pgp", "hc_vault", ….
	Others []string
	// Groups is the number of groups of keys; more than one needs pieces of several.
	Groups int
}

// key is one recipient with the data key for it.
type key struct{ recipient, enc string }

// metadata is the part of a file under "sops".
type metadata struct {
	keys     []key
	others   []string
	groups   int
	mac      string
	modified string
	onlyEnc  bool
	rules    map[string]string
	shamir   int
}

// leaf is one value of a file.
type leaf struct {
	path    []string
	raw     string
	comment bool
	kind    string // "str", "int", "float", "bool", "null", of an unencrypted value
	set     func(kind, value string)
}

// File is a parsed file.
type File struct {
	meta   metadata
	leaves []*leaf
	format string
	docs   []*yaml.Node // YAML and JSON
	pairs  [][2]string  // dotenv and INI: name and value; INI's names have "SECTION." before
	binary bool
}

// Format is the format of a file by its name, as sops finds it: yaml, json, dotenv, ini or
// binary.
func Format(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml":
		return "yaml"
	case ".json":
		return "json"
	case ".env":
		return "dotenv"
	case ".ini":
		return "ini"
	}
	return "binary"
}

// MaxFile bounds a file, in bytes, and maxLeaves the number of its values.
const (
	MaxFile   = 16 << 20
	maxLeaves = 100_000
	maxDepth  = 200
)

// Parse reads a file in one of the formats of Format.
func Parse(data []byte, format string) (*File, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("it is longer than %d MiB", MaxFile>>20)
	}
	f := &File{format: format}
	var err error
	switch format {
	case "yaml", "json", "binary":
		err = f.parseYAML(data)
	case "dotenv":
		err = f.parseDotenv(string(data))
	case "ini":
		err = f.parseINI(string(data))
	default:
		return nil, fmt.Errorf("there is no format '%s'", format)
	}
	if err != nil {
		return nil, err
	}
	if f.meta.mac == "" {
		return nil, errors.New("it is not a sops file: it has no sops metadata")
	}
	f.binary = format == "binary"
	return f, nil
}

// Meta is what the file says of its keys.
func (f *File) Meta() Meta {
	m := Meta{Others: f.meta.others, Groups: max(1, f.meta.groups)}
	for _, k := range f.meta.keys {
		m.Age = append(m.Age, k.recipient)
	}
	return m
}

// NeedsSops says why only the sops program can open the file; "" when age can.
func (m Meta) NeedsSops() string {
	switch {
	case m.Groups > 1:
		return "its key is split over several groups of keys"
	case len(m.Age) == 0 && len(m.Others) > 0:
		return "it has no age key, only keys of " + strings.Join(m.Others, ", ")
	case len(m.Age) == 0:
		return "it has no key at all"
	}
	return ""
}

// Opener opens a file of age that is encrypted to the recipient.
type Opener func(armored []byte, recipient string) ([]byte, error)

// Decrypt opens the values, and verifies the MAC. What the file has in clear stays.
func (f *File) Decrypt(open Opener) error {
	var data []byte
	var errs []error
	for _, k := range f.meta.keys {
		plain, err := open([]byte(k.enc), k.recipient)
		if err == nil && len(plain) == 32 {
			data = plain
			break
		}
		if err == nil {
			err = errors.New("its data key does not have 32 bytes")
		}
		errs = append(errs, err)
	}
	if data == nil {
		return fmt.Errorf("its data key cannot be opened: %w", errors.Join(errs...))
	}
	block, err := aes.NewCipher(data)
	if err != nil {
		return err
	}
	sum := sha512.New()
	if f.meta.onlyEnc {
		sum.Write(macOnlyEncryptedInit)
	}
	for _, l := range f.leaves {
		if err := l.decrypt(block, f.meta, sum); err != nil {
			return err
		}
	}
	for _, d := range f.docs {
		prune(d)
	}
	_, mac, err := open1(block, f.meta.mac, f.meta.modified)
	if err != nil {
		return fmt.Errorf("its MAC cannot be opened: %w", err)
	}
	want := strings.ToUpper(hex.EncodeToString(sum.Sum(nil)))
	if subtle.ConstantTimeCompare([]byte(want), []byte(mac)) != 1 {
		return errors.New("its MAC does not match: somebody changed it without sops")
	}
	return nil
}

// macOnlyEncryptedInit goes before the values of a file whose MAC is over encrypted ones
// alone (mac_only_encrypted), so that the two sorts are never taken for each other.
var macOnlyEncryptedInit, _ = hex.DecodeString("8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69")

// encPattern is an encrypted value.
var encPattern = regexp.MustCompile(`^ENC\[AES256_GCM,data:([^,]*),iv:([^,]+),tag:([^,]+),type:([a-z]+)\]$`)

// open1 opens one value.
func open1(block cipher.Block, text, aad string) (kind, value string, err error) {
	m := encPattern.FindStringSubmatch(text)
	if m == nil {
		return "", "", errors.New("a value is not encrypted as sops does it")
	}
	var parts [3][]byte
	for i := range parts {
		if parts[i], err = base64.StdEncoding.DecodeString(m[i+1]); err != nil {
			return "", "", errors.New("a value is not in base64")
		}
	}
	if len(parts[1]) == 0 || len(parts[1]) > 64 || len(parts[2]) != 16 {
		return "", "", errors.New("a value has an IV or a tag of another length")
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(parts[1]))
	if err != nil {
		return "", "", err
	}
	plain, err := gcm.Open(nil, parts[1], append(slices.Clone(parts[0]), parts[2]...), []byte(aad))
	if err != nil {
		return "", "", errors.New("a value was changed without sops, or is in another place")
	}
	return m[4], string(plain), nil
}

// decrypt opens the value, if it is encrypted, and adds it to the sum.
func (l *leaf) decrypt(block cipher.Block, meta metadata, sum hash.Hash) error {
	aad := strings.Join(l.path, ":") + ":"
	kind, value, encrypted := l.kind, l.raw, false
	if strings.HasPrefix(l.raw, "ENC[") && (l.kind == "str" || l.comment) && meta.encrypted(l.path) {
		k, v, err := open1(block, l.raw, aad)
		switch {
		case err == nil:
			kind, value, encrypted = k, v, true
		case l.comment: // a comment that only looks like it
		default:
			return fmt.Errorf("%s: %w", strings.Join(l.path, "."), err)
		}
	}
	if l.comment {
		return nil // comments are in no MAC
	}
	if encrypted || !meta.onlyEnc {
		text, err := macText(kind, value)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(l.path, "."), err)
		}
		sum.Write([]byte(text))
	}
	if encrypted {
		l.set(kind, value)
	}
	return nil
}

// macText is a value as it enters the MAC.
func macText(kind, value string) (string, error) {
	switch kind {
	case "str", "bytes":
		return value, nil
	case "int":
		n, ok := new(big.Int).SetString(strings.ReplaceAll(value, "_", ""), 0)
		if !ok {
			return "", errors.New("it is not a whole number")
		}
		return n.String(), nil
	case "float":
		x, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return "", errors.New("it is not a number")
		}
		return strconv.FormatFloat(x, 'f', -1, 64), nil
	case "bool":
		b, err := strconv.ParseBool(strings.ToLower(value))
		if err != nil {
			return "", errors.New("it is neither true nor false")
		}
		if b {
			return "True", nil
		}
		return "False", nil
	case "time":
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			t, err = time.Parse("2006-01-02", value)
		}
		if err != nil {
			return "", errors.New("it is not a time")
		}
		return t.Format(time.RFC3339Nano), nil
	case "null", "comment":
		return "", nil
	}
	return "", fmt.Errorf("sops has no type '%s'", kind)
}

// encrypted tells whether the rules of the file have a value at this path encrypted.
func (m metadata) encrypted(at []string) bool {
	for _, rule := range []string{"unencrypted_suffix", "encrypted_suffix", "unencrypted_regex", "encrypted_regex"} {
		want, ok := m.rules[rule]
		if !ok || want == "" {
			continue
		}
		match := func(p string) bool { return strings.HasSuffix(p, want) }
		if strings.HasSuffix(rule, "regex") {
			re, err := regexp.Compile(want)
			if err != nil {
				return true
			}
			match = re.MatchString
		}
		return slices.ContainsFunc(at, match) != strings.HasPrefix(rule, "un")
	}
	return true
}

// Value gives one value by its path: keys with "/" between them, as sops-nix has it ("" is
// the whole file).
func (f *File) Value(at string) ([]byte, error) {
	if at == "" {
		return f.Plain()
	}
	want := strings.Split(at, "/")
	if f.docs == nil {
		for _, p := range f.pairs {
			if p[0] == strings.Join(want, "\x00") {
				return []byte(p[1]), nil
			}
		}
		return nil, fmt.Errorf("it has no key '%s'", at)
	}
	n := f.docs[0]
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, k := range want {
		n = child(n, k)
		if n == nil {
			return nil, fmt.Errorf("it has no key '%s'", at)
		}
	}
	if n.Kind == yaml.ScalarNode {
		return []byte(n.Value), nil
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(4)
	err := e.Encode(n)
	return b.Bytes(), err
}

func child(n *yaml.Node, key string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i]
		}
	}
	return nil
}

// Values are all plaintexts of the file that were encrypted or not, for whoever hides
// them.
func (f *File) Values() []string {
	var out []string
	for _, l := range f.leaves {
		if !l.comment {
			out = append(out, l.raw)
		}
	}
	return out
}

// Plain is the whole file in its format, without the metadata; a binary one is its data.
func (f *File) Plain() ([]byte, error) {
	if f.binary {
		v, err := f.Value("data")
		if err != nil {
			return nil, errors.New("it is not a binary sops file")
		}
		return v, nil
	}
	switch f.format {
	case "dotenv":
		var b strings.Builder
		for _, p := range f.pairs {
			b.WriteString(p[0] + "=" + strings.ReplaceAll(p[1], "\n", `\n`) + "\n")
		}
		return []byte(b.String()), nil
	case "ini":
		return f.plainINI(), nil
	case "json":
		return plainJSON(f.docs[0])
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(4)
	for _, d := range f.docs {
		if err := e.Encode(d); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
