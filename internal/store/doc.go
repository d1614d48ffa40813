// Package store moves store paths between Nix stores.
//
// It speaks the protocol of `nix-store --serve [--write]` over any pair of byte
// streams (ssh, ssh and sudo, docker exec, a local process) and copies closures
// from one source to any number of hosts: closures are queried in batches,
// requests are pipelined, every NAR is read once and fanned out, and what has
// arrived stays, so that a broken copy is resumed by starting it again.
//
// The protocol has no prose specification. What is written here follows
// src/libstore/serve-protocol.hh, serve-protocol.cc and opServe in
// src/nix-store/nix-store.cc of Nix 2.3 to 2.36, and what real `nix-store
// --serve` processes of Nix 2.8 and 2.26 answer. Versions 2.5 to 2.8 are alike
// in everything used here; 2.7 is announced.
package store
