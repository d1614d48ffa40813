{ ... }:
{ imports = [ ./sd-image-aarch64.nix ]; }
