# godwit as a package of nixpkgs. The Go modules are fetched by nixpkgs and checked by
# vendorHash; packaging/vendor-hash writes it anew when go.mod changes.
{ lib, stdenv, buildGoModule, src, commit ? "", date ? "19700101000000" }:
let
  part = builtins.substring;
  version = "0.0.0";
in
buildGoModule {
  pname = "godwit";
  inherit version src;
  vendorHash = "sha256-EGl1vIqAVSbzd42yuASPUwPzMYz3FpngsGskSKqqdJo=";
  subPackages = [ "cmd/godwit" ];
  env.CGO_ENABLED = "0";
  preBuild = "sh internal/secrets/ship/programs.sh"; # what decrypts secrets on hosts, which godwit takes up
  ldflags = [
    "-s"
    "-w"
    "-X godwit/internal/version.release=${version}"
    "-X godwit/internal/version.commit=${commit}"
    "-X godwit/internal/version.date=${part 0 4 date}-${part 4 2 date}-${part 6 2 date}T${part 8 2 date}:${part 10 2 date}:${part 12 2 date}Z"
  ];
  doCheck = false; # the tests want containers, Nix and an hour
  # Only a program of this machine can write its pages.
  postInstall = lib.optionalString (stdenv.buildPlatform.system == stdenv.hostPlatform.system) ''
    $out/bin/godwit man $out/share/man/man1
    mkdir -p $out/share/bash-completion/completions $out/share/zsh/site-functions $out/share/fish/vendor_completions.d
    $out/bin/godwit completion bash >$out/share/bash-completion/completions/godwit
    $out/bin/godwit completion zsh >$out/share/zsh/site-functions/_godwit
    $out/bin/godwit completion fish >$out/share/fish/vendor_completions.d/godwit.fish
  '';
  meta = {
    description = "Deploys NixOS fleets from any laptop";
#     homepage = "";
    license = lib.licenses.asl20 or { };
    mainProgram = "godwit";
  };
}
