# The small NixOS as a package set: `import <nixpkgs> { }`.
args: import ./pkgs args
