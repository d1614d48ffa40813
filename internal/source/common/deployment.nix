# The options `deployment.*' of a host, as a NixOS module: what godwit is to know of
# it beside its system. The same for every dialect that has them; nixosModules.default
# of godwit's flake is this.
#
# always: whether there is a list of what commands of checks need also where no
# check has a command. morph's systems have it.
# pin, revision: what pin.nix gives, and is told.
{ always ? false, pin ? import ./pin.nix, revision ? null }:
{ config, lib, options, pkgs, ... }:
let
  inherit (lib) mkOption types;

  option = type: description: mkOption { inherit type description; };
  optional = type: default: description: mkOption { inherit type default description; };
  group = description: options: mkOption {
    inherit description;
    default = { };
    type = types.submodule { inherit options; };
  };

  timing = {
    period = optional types.int 2 "Seconds between one try and the next.";
    timeout = optional types.int 5 "Seconds that one try may take.";
  };

  checks = what: group what {
    cmd = optional (types.listOf (types.submodule { options = cmdCheck; })) [ ]
      "Commands that must succeed on the host.";
    http = optional (types.listOf (types.submodule { options = httpCheck; })) [ ]
      "Pages that the host must serve.";
    # These are godwit's own: morph refuses a network that sets them.
    tcp = optional (types.listOf (types.submodule { options = tcpCheck; })) [ ]
      "Ports of the host that must take a connection from the deploying machine.";
    unit = optional (types.listOf (types.submodule { options = unitCheck; })) [ ]
      "systemd units that must be active on the host.";
    failedUnits = optional (types.listOf (types.submodule { options = failedUnitsCheck; })) [ ]
      "That no unit failed which had not failed before the deployment.";
    local = optional (types.listOf (types.submodule { options = localCheck; })) [ ]
      "Commands that must succeed on the deploying machine.";
  };

  cmdCheck = timing // {
    description = option types.str "What is checked, for people.";
    cmd = optional (types.nullOr (types.listOf types.str)) null "The command and its arguments.";
  };

  httpCheck = timing // {
    description = option types.str "What is checked, for people.";
    host = optional (types.nullOr types.str) null "Where to ask; null is the host's own address.";
    scheme = optional types.str "http" "http or https.";
    port = option types.int "Port to ask on.";
    path = optional types.path "/" "Path of the page.";
    headers = optional (types.attrsOf types.str) { } "Headers of the request.";
    insecureSSL = optional types.bool false "Whether a certificate that cannot be verified will do.";
  };

  tcpCheck = timing // {
    description = option types.str "What is checked, for people.";
    host = optional (types.nullOr types.str) null "Where to connect; null is the host's own address.";
    port = option types.int "Port to connect to.";
  };

  unitCheck = timing // {
    description = optional types.str "" "What is checked, for people.";
    unit = option types.str "Name of the unit; without a suffix, a service.";
  };

  failedUnitsCheck = timing // {
    description = optional types.str "no newly failed units" "What is checked, for people.";
    ignore = optional (types.listOf types.str) [ ] "Names and shell patterns of units that do not matter.";
  };

  localCheck = timing // {
    description = option types.str "What is checked, for people.";
    cmd = option (types.listOf types.str) "The command and its arguments.";
  };

  secret = {
    destination = option types.str "Absolute path of the file on the host.";
    source = option types.str "The file on the deploying machine; a relative path begins at the deployment file.";
    owner = group "Who owns the file on the host." {
      user = optional types.str "root" "Owner of the file.";
      group = optional types.str "root" "Group of the file.";
    };
    permissions = optional types.str "0400" "Mode of the file, octal.";
    action = optional (types.listOf types.str) [ ] "Command to run on the host after the upload.";
    mkDirs = optional types.bool true "Whether to make the directories that the file is in.";
    uploadAt = optional (types.enum [ "pre-activation" "post-activation" ]) "pre-activation"
      "Whether the file goes to the host before or after activation.";
  };

  words = builtins.concatLists (map
    (c: if c.cmd == null then [ ] else c.cmd)
    (config.deployment.healthChecks.cmd ++ config.deployment.preDeployChecks.cmd));
in
{
  _file = "godwit/deployment.nix";
  # Imported twice, also in two versions, it is there once.
  key = "godwit/deployment";

  imports = [ (pin { inherit revision; when = config: config.deployment.pinNixpkgs; }) ];

  options.deployment = {
    targetHost = optional types.str "" "Name or address that ssh connects to.";
    targetPort = optional (types.nullOr types.int) null "Port that ssh connects to.";
    targetUser = optional types.str "" "User that ssh logs in as.";
    addresses = optional (types.listOf types.str) [ ]
      "Further addresses, [user@]host[:port], tried in order where nobody answers at targetHost.";
    sshOptions = optional (types.listOf types.str) [ ] "Arguments of ssh for this host.";
    forwardAgent = optional types.bool false
      "Whether sudo on the host may ask the agent of the deploying machine (pam_ssh_agent_auth).";
    pinNixpkgs = optional types.bool false "Whether nixpkgs on the host, as in `nix shell nixpkgs#hello', is that of its system.";
    buildOnly = optional types.bool false "Whether the host is built and never touched.";
    substituteOnDestination = optional types.bool false
      "Whether the host fetches from its own substituters what they have.";
    tags = optional (types.listOf types.str) [ ] "Words to select and to order hosts by.";
    secrets = optional (types.attrsOf (types.submodule { options = secret; })) { }
      "Files that are copied to the host outside of the Nix store.";
    healthChecks = checks "What must hold after a deployment.";
    preDeployChecks = checks "What must hold before a deployment.";
    buildOn = optional (types.nullOr types.str) null
      "Where godwit builds this host: auto, local, target, container or the URI of a store.";
  };

  # Store paths that checks mention must be on the host. nix-darwin has no place for them.
  config = lib.optionalAttrs (options.system ? extraDependencies) {
    system.extraDependencies = lib.mkIf (always || words != [ ]) [
      (pkgs.writeText "healthcheck-commands.txt" (builtins.concatStringsSep "\n" words))
    ];
  };
}
