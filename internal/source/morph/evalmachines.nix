# With MORPH_NIX_EVAL_MACHINES somebody brings an eval-machines.nix of their own,
# which may mean anything by a network. It is called as morph calls it: metadata is
# its `info.deployment', systems come from its `nodes' (morph builds its `machines',
# one derivation that links to the same systems). This is the same contract as
# network.nix beside it, with one argument more:
#   machines  the replacement, an absolute path as a string
{ file, machines, systems ? { }, fallback, targets ? null }:

let
  inherit (builtins) elem filter functionArgs head listToAttrs map mapAttrs;

  f = import (/. + machines);
  given = f ({ networkExpr = /. + file; } // (if functionArgs f ? argsFile then { argsFile = ""; } else { }));
  inherit (given.info) deployment;

  byName = listToAttrs (map (h: { inherit (h) name; value = h; }) deployment.hosts);

  # Not named drvPath and outPath: toJSON takes a set with an outPath for a string.
  output = drv: { drv = drv.drvPath; out = drv.outPath; };
in
{
  inherit (given) nodes;

  summary = {
    names = map (h: h.name) deployment.hosts;
    description = deployment.meta.description or "";
    orderingTags = deployment.meta.ordering.tags or [ ];
    # morph takes the first host's
    nixConfig = if deployment.hosts == [ ] then { } else (head deployment.hosts).nixConfig or { };
  };

  host = { system ? true, wanted ? [ ], only ? null }: name:
    let
      h = byName.${name};
      node = given.nodes.${name};
      toplevel = node.config.system.build.toplevel;
      tags = h.tags or [ ];
      selected = filter (tag: ! elem tag tags) wanted == [ ];
      data = {
        inherit name tags selected;
        at = { host = h.targetHost or ""; user = h.targetUser or ""; port = h.targetPort or null; };
        buildOnly = h.buildOnly or false;
        substituteOnDestination = h.substituteOnDestination or false;
        secrets = mapAttrs
          (_: s: removeAttrs s [ "source" "owner" ] // { from.file = toString s.source; inherit (s.owner) user group; })
          (h.secrets or { });
        healthChecks = h.healthChecks or { };
        preDeployChecks = h.preDeployChecks or { };
        release = h.nixosRelease or "";
      };
    in
    if ! system || ! selected || ! (only == null || elem "system" only) then data
    else data // {
      platform = { system = node.pkgs.stdenv.hostPlatform.system or toplevel.system; from = "pkgs"; };
      profiles = if targets == null then [ ({ name = "system"; kind = "nixos"; } // output toplevel) ] else [ ];
      targets = if targets == null then { } else mapAttrs (_: f: output (f node)) targets;
    };
}
