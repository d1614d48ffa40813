package sopsfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads YAML, and JSON, which is a part of it.
func (f *File) parseYAML(data []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.New("it is not YAML or JSON: " + firstLine(err.Error()))
		}
		if len(f.docs) > 1000 {
			return errors.New("it has too many documents")
		}
		f.docs = append(f.docs, &n)
	}
	if len(f.docs) == 0 {
		return errors.New("it is empty")
	}
	for _, doc := range f.docs {
		root := doc
		if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
			root = root.Content[0]
		}
		if root.Kind != yaml.MappingNode {
			return errors.New("it is not a map of keys and values")
		}
		for i := 0; i+1 < len(root.Content); i += 2 {
			if root.Content[i].Value != "sops" {
				continue
			}
			if err := f.meta.readNode(root.Content[i+1]); err != nil {
				return err
			}
			root.Content = slices.Delete(root.Content, i, i+2)
			break
		}
		if err := f.walk(root, nil, 0); err != nil {
			return err
		}
	}
	return nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// walk collects the values in the order of the document.
func (f *File) walk(n *yaml.Node, at []string, depth int) error {
	if depth > maxDepth || len(f.leaves) > maxLeaves {
		return errors.New("it is nested too deeply, or has too many values")
	}
	for _, c := range []*string{&n.HeadComment, &n.LineComment, &n.FootComment} {
		if strings.Contains(*c, "ENC[AES256_GCM,") { // comments are no part of what is read
			*c = ""
		}
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if c := n.Content[i]; strings.Contains(c.HeadComment, "ENC[AES256_GCM,") {
				c.HeadComment = ""
			}
			if err := f.walk(n.Content[i+1], append(slices.Clone(at), n.Content[i].Value), depth+1); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			if err := f.walk(c, at, depth+1); err != nil {
				return err
			}
		}
	case yaml.AliasNode:
		return errors.New("it has aliases, which sops does not write")
	case yaml.ScalarNode:
		l := &leaf{path: at, raw: n.Value, kind: nodeKind(n)}
		l.set = func(kind, value string) {
			l.raw = value
			setNode(n, kind, value)
		}
		f.leaves = append(f.leaves, l)
	}
	return nil
}

func nodeKind(n *yaml.Node) string {
	switch n.ShortTag() {
	case "!!int":
		return "int"
	case "!!float":
		return "float"
	case "!!bool":
		return "bool"
	case "!!null":
		return "null"
	case "!!timestamp":
		return "time"
	}
	return "str"
}

// commentTag marks an item of a list that is a comment: sops writes encrypted ones so.
const commentTag = "!comment"

// prune takes comments out of lists.
func prune(n *yaml.Node) {
	n.Content = slices.DeleteFunc(n.Content, func(c *yaml.Node) bool { return c.Tag == commentTag })
	for _, c := range n.Content {
		prune(c)
	}
}

// setNode makes a node a plaintext of that type.
func setNode(n *yaml.Node, kind, value string) {
	n.Value, n.Style = value, 0
	switch kind {
	case "comment":
		n.Tag = commentTag
	case "int":
		n.Tag = "!!int"
	case "float":
		n.Tag = "!!float"
	case "bool":
		n.Tag, n.Value = "!!bool", strings.ToLower(value)
	case "time":
		n.Tag = "!!timestamp"
	default:
		n.Tag = "!!str"
		if strings.Contains(value, "\n") {
			n.Style = yaml.LiteralStyle
		}
	}
}

// readNode reads the metadata of a YAML or JSON file.
func (m *metadata) readNode(n *yaml.Node) error {
	var in struct {
		Age       []ageKey         `yaml:"age"`
		KMS       []map[string]any `yaml:"kms"`
		GCPKMS    []map[string]any `yaml:"gcp_kms"`
		HCKMS     []map[string]any `yaml:"hckms"`
		AzureKV   []map[string]any `yaml:"azure_kv"`
		Vault     []map[string]any `yaml:"hc_vault"`
		PGP       []map[string]any `yaml:"pgp"`
		KeyGroups []struct {
			Age []ageKey `yaml:"age"`
		} `yaml:"key_groups"`
		Shamir             int    `yaml:"shamir_threshold"`
		Modified           string `yaml:"lastmodified"`
		MAC                string `yaml:"mac"`
		OnlyEnc            bool   `yaml:"mac_only_encrypted"`
		UnencryptedSuffix  string `yaml:"unencrypted_suffix"`
		EncryptedSuffix    string `yaml:"encrypted_suffix"`
		UnencryptedRegex   string `yaml:"unencrypted_regex"`
		EncryptedRegex     string `yaml:"encrypted_regex"`
		UnencryptedComment string `yaml:"unencrypted_comment_regex"`
		EncryptedComment   string `yaml:"encrypted_comment_regex"`
	}
	for _, c := range n.Content { // a time that YAML would read as one
		if n.Kind == yaml.MappingNode && c.Kind == yaml.ScalarNode && c.ShortTag() == "!!timestamp" {
			c.Tag = "!!str"
		}
	}
	if err := n.Decode(&in); err != nil {
		return errors.New("its metadata is not as sops writes it: " + firstLine(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	for _, a := range in.Age {
		m.keys = append(m.keys, key{a.Recipient, a.Enc})
	}
	m.groups = len(in.KeyGroups)
	if m.groups == 1 { // as good as none
		for _, a := range in.KeyGroups[0].Age {
			m.keys = append(m.keys, key{a.Recipient, a.Enc})
		}
	}
	for _, o := range []struct {
		name string
		n    int
	}{{"kms", len(in.KMS)}, {"gcp_kms", len(in.GCPKMS)}, {"hckms", len(in.HCKMS)}, {"azure_kv", len(in.AzureKV)}, {"hc_vault", len(in.Vault)}, {"pgp", len(in.PGP)}} {
		if o.n > 0 {
			m.others = append(m.others, o.name)
		}
	}
	m.mac, m.modified, m.onlyEnc, m.shamir = in.MAC, in.Modified, in.OnlyEnc, in.Shamir
	m.rules = map[string]string{"unencrypted_suffix": in.UnencryptedSuffix, "encrypted_suffix": in.EncryptedSuffix,
		"unencrypted_regex": in.UnencryptedRegex, "encrypted_regex": in.EncryptedRegex}
	if in.UnencryptedComment != "" || in.EncryptedComment != "" {
		// Comments decide what is encrypted; a value that looks encrypted is.
		m.rules = nil
	}
	return nil
}

type ageKey struct {
	Recipient string `yaml:"recipient"`
	Enc       string `yaml:"enc"`
}

// flat is metadata as dotenv and INI have it: names with "__list_0__map_" in them.
func (m *metadata) flat(all map[string]string) {
	type at struct {
		n int
		k key
	}
	keys := map[int]*key{}
	others := map[string]bool{}
	for name, value := range all {
		if g := flatPattern.FindStringSubmatch(name); g != nil {
			if g[1] != "age" {
				others[g[1]] = true
				continue
			}
			i, err := strconv.Atoi(g[2])
			if err != nil {
				continue
			}
			if keys[i] == nil {
				keys[i] = &key{}
			}
			switch g[3] {
			case "recipient":
				keys[i].recipient = value
			case "enc":
				keys[i].enc = value
			}
		}
	}
	var order []at
	for i, k := range keys {
		order = append(order, at{i, *k})
	}
	sort.Slice(order, func(i, j int) bool { return order[i].n < order[j].n })
	for _, o := range order {
		m.keys = append(m.keys, o.k)
	}
	for o := range others {
		m.others = append(m.others, o)
	}
	slices.Sort(m.others)
	m.mac, m.modified = all["mac"], all["lastmodified"]
	m.onlyEnc = all["mac_only_encrypted"] == "true"
	if n, err := strconv.Atoi(all["shamir_threshold"]); err == nil && n > 1 {
		m.groups = n
	}
	m.rules = all
}

var flatPattern = regexp.MustCompile(`^([a-z_]+?)__list_(\d+)__map_(.+)$`)

// unescapeNewlines undoes what sops does to line breaks in dotenv.
func unescapeNewlines(s string) string { return strings.ReplaceAll(s, `\n`, "\n") }

// parseDotenv reads NAME=VALUE lines.
func (f *File) parseDotenv(text string) error {
	meta := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if c, ok := strings.CutPrefix(line, "#"); ok {
			f.leaves = append(f.leaves, &leaf{raw: c, comment: true, set: func(string, string) {}})
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("line %d is not NAME=VALUE", i+1)
		}
		value = unescapeNewlines(value)
		if m, ok := strings.CutPrefix(name, "sops_"); ok {
			meta[m] = value
			continue
		}
		if len(f.pairs) > maxLeaves {
			return errors.New("it has too many values")
		}
		f.addPair([]string{name}, value)
	}
	f.meta.flat(meta)
	return nil
}

// addPair adds a value of dotenv or INI.
func (f *File) addPair(at []string, value string) {
	i := len(f.pairs)
	f.pairs = append(f.pairs, [2]string{strings.Join(at, "\x00"), value})
	l := &leaf{path: at, raw: value, kind: "str"}
	l.set = func(_, v string) { l.raw, f.pairs[i][1] = v, v }
	f.leaves = append(f.leaves, l)
}

// parseINI reads sections of NAME = VALUE lines, as sops writes them.
func (f *File) parseINI(text string) error {
	meta := map[string]string{}
	section := "DEFAULT"
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, ";"):
			f.leaves = append(f.leaves, &leaf{raw: strings.TrimSpace(line[1:]), comment: true, set: func(string, string) {}})
			continue
		case strings.HasPrefix(line, "["):
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok {
				return fmt.Errorf("line %d is not [SECTION]", i+1)
			}
			section = name
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("line %d is not NAME = VALUE", i+1)
		}
		name, value = strings.TrimSpace(name), unquoteINI(strings.TrimSpace(value))
		if section == "sops" {
			meta[name] = unescapeNewlines(value)
			continue
		}
		if len(f.pairs) > maxLeaves {
			return errors.New("it has too many values")
		}
		f.addPair([]string{section, name}, value)
	}
	f.meta.flat(meta)
	return nil
}

// unquoteINI takes the quotes off that INI writers put around values with special
// characters.
func unquoteINI(s string) string {
	for _, q := range []string{`"""`, "`", `"`} {
		if len(s) >= 2*len(q) && strings.HasPrefix(s, q) && strings.HasSuffix(s, q) {
			return s[len(q) : len(s)-len(q)]
		}
	}
	return s
}

func (f *File) plainINI() []byte {
	var b strings.Builder
	last := "DEFAULT"
	for _, p := range f.pairs {
		section, name, _ := strings.Cut(p[0], "\x00")
		if section != last {
			b.WriteString("[" + section + "]\n")
			last = section
		}
		b.WriteString(name + " = " + p[1] + "\n")
	}
	return []byte(b.String())
}

// plainJSON writes a document as JSON with the order of its keys.
func plainJSON(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	if err := jsonNode(&b, n); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "\t"); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func jsonNode(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.DocumentNode:
		return jsonNode(b, n.Content[0])
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			k, err := json.Marshal(n.Content[i].Value)
			if err != nil {
				return err
			}
			b.Write(k)
			b.WriteByte(':')
			if err := jsonNode(b, n.Content[i+1]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := jsonNode(b, c); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		switch nodeKind(n) {
		case "int", "float", "bool", "null":
			if json.Valid([]byte(n.Value)) {
				b.WriteString(n.Value)
				return nil
			}
		}
		v, err := json.Marshal(n.Value)
		if err != nil {
			return err
		}
		b.Write(v)
	}
	return nil
}
