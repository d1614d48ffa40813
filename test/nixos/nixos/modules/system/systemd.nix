# Units as real files below etc/systemd/system.
{ config, lib, pkgs, ... }:
with lib;
let
  cfg = config.systemd;
  opt = type: default: mkOption { inherit type default; description = "See systemd."; };
  strs = opt (types.listOf types.str) [ ];
  section = opt (types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.float types.str types.path types.package (types.listOf (types.oneOf [ types.bool types.int types.str types.path types.package ])) ]
    // { merge = loc: defs: let vs = map (d: d.value) defs; in if all isList vs then concatLists vs else mergeEqualOption loc defs; description = "systemd option"; }))) { };
  common = {
    enable = opt types.bool true;
    description = opt types.singleLineStr "";
    documentation = strs;
    after = strs; before = strs; wants = strs; requires = strs; requisite = strs; bindsTo = strs; partOf = strs;
    conflicts = strs; onFailure = strs; onSuccess = strs; upholds = strs;
    wantedBy = strs; requiredBy = strs; upheldBy = strs; aliases = strs;
    unitConfig = section;
    restartTriggers = opt (types.listOf types.unspecified) [ ];
    reloadTriggers = opt (types.listOf types.unspecified) [ ];
    startLimitIntervalSec = opt (types.nullOr types.int) null;
    startLimitBurst = opt (types.nullOr types.int) null;
    overrideStrategy = opt (types.enum [ "asDropinIfExists" "asDropin" ]) "asDropinIfExists";
  };
  unitType = extra: opt (types.attrsOf (types.submodule { options = common // extra; })) { };
  value = v: if isBool v then boolToString v else toString v;
  lines = k: v: if v == null then "" else if isList v then concatMapStrings (x: "${k}=${value x}\n") v else "${k}=${value v}\n";
  sectionText = name: attrs: optionalString (attrs != { }) ("\n[${name}]\n" + concatStrings (mapAttrsToList lines attrs));
  joined = k: xs: optionalString (xs != [ ]) "${k}=${concatStringsSep " " xs}\n";
  triggers = k: xs: optionalString (xs != [ ]) "${k}=${concatMapStringsSep " " (x: if isString x || isDerivation x || builtins.isPath x then "${x}" else builtins.toJSON x) xs}\n";
  unitSection = u: "[Unit]\n"
    + optionalString (u.description != "") "Description=${u.description}\n"
    + joined "Documentation" u.documentation + joined "After" u.after + joined "Before" u.before + joined "Wants" u.wants
    + joined "Requires" u.requires + joined "Requisite" u.requisite + joined "BindsTo" u.bindsTo + joined "PartOf" u.partOf
    + joined "Conflicts" u.conflicts + joined "OnFailure" u.onFailure + joined "OnSuccess" u.onSuccess + joined "Upholds" u.upholds
    + lines "StartLimitIntervalSec" u.startLimitIntervalSec + lines "StartLimitBurst" u.startLimitBurst
    + concatStrings (mapAttrsToList lines u.unitConfig)
    + triggers "X-Restart-Triggers" u.restartTriggers + triggers "X-Reload-Triggers" u.reloadTriggers;

  script = unit: name: text: "${pkgs.writeShellScriptBin "unit-script-${unit}-${name}" "set -e\n${text}"}/bin/unit-script-${unit}-${name}";
  defaultPath = [ pkgs.lab-base ];
  pathText = p: "${makeBinPath p}:${makeSearchPath "sbin" p}";
  serviceText = name: u:
    let
      exec = key: suffix: text: optionalAttrs (text != "") { ${key} = script name suffix text; };
      svc =
        optionalAttrs (u.script != "") { ExecStart = script name "start" u.script + optionalString (u.scriptArgs != "") " ${u.scriptArgs}"; }
        // exec "ExecStartPre" "pre-start" u.preStart
        // exec "ExecStartPost" "post-start" u.postStart
        // exec "ExecReload" "reload" u.reload
        // exec "ExecStop" "pre-stop" u.preStop
        // exec "ExecStopPost" "post-stop" u.postStop
        // u.serviceConfig;
      env = u.environment // { PATH = u.environment.PATH or (pathText (u.path ++ defaultPath)); };
    in
    unitSection u + "\n[Service]\n"
    + concatStrings (mapAttrsToList (k: v: optionalString (v != null) "Environment=${builtins.toJSON "${k}=${toString v}"}\n") env)
    + optionalString u.reloadIfChanged "X-ReloadIfChanged=true\n"
    + optionalString (!u.restartIfChanged) "X-RestartIfChanged=false\n"
    + optionalString (!u.stopIfChanged) "X-StopIfChanged=false\n"
    + concatStrings (mapAttrsToList lines svc);

  kinds = {
    service = { set = cfg.services; text = serviceText; };
    socket = { set = cfg.sockets; text = _: u: unitSection u + sectionText "Socket" ((optionalAttrs (u.listenStreams != [ ]) { ListenStream = u.listenStreams; }) // (optionalAttrs (u.listenDatagrams != [ ]) { ListenDatagram = u.listenDatagrams; }) // u.socketConfig); };
    timer = { set = timers; text = _: u: unitSection u + sectionText "Timer" u.timerConfig; };
    path = { set = cfg.paths; text = _: u: unitSection u + sectionText "Path" u.pathConfig; };
    target = { set = cfg.targets; text = _: unitSection; };
    slice = { set = cfg.slices; text = _: u: unitSection u + sectionText "Slice" u.sliceConfig; };
    mount = { set = listToAttrs (map (m: nameValuePair (mountName m.where) m) cfg.mounts); text = _: u: unitSection u + sectionText "Mount" ({ What = u.what; Where = u.where; Type = u.type; Options = u.options; } // u.mountConfig); };
  };
  mountName = p: replaceStrings [ "/" ] [ "-" ] (removePrefix "/" p);
  # A service with startAt has a timer.
  timers = cfg.timers // mapAttrs
    (n: u: (cfg.timers.${n} or blank) // { wantedBy = [ "timers.target" ]; timerConfig = { OnCalendar = toList u.startAt; } // (cfg.timers.${n}.timerConfig or { }); })
    (filterAttrs (_: u: u.startAt != [ ]) cfg.services);
  blank = {
    enable = true; description = ""; timerConfig = { }; unitConfig = { }; restartTriggers = [ ]; reloadTriggers = [ ]; startLimitIntervalSec = null; startLimitBurst = null; aliases = [ ]; requiredBy = [ ]; upheldBy = [ ]; wantedBy = [ ];
  } // genAttrs [ "documentation" "after" "before" "wants" "requires" "requisite" "bindsTo" "partOf" "conflicts" "onFailure" "onSuccess" "upholds" ] (_: [ ]);
  units = concatLists (mapAttrsToList
    (kind: k: mapAttrsToList
      (n: u: { name = if hasSuffix ".${kind}" n then n else "${n}.${kind}"; inherit u; text = k.text n u; })
      k.set)
    kinds)
    ++ mapAttrsToList (n: u: { name = n; inherit u; text = u.text; }) cfg.units;
  file = e: let f = pkgs.writeTextFile { name = "unit-${e.name}"; destination = "/${e.name}"; inherit (e) text; }; in "${f}/${e.name}";
  etcOf = e:
    let
      src = if e.u.enable then file e else "/dev/null";
      dir = kind: map (t: { name = "systemd/system/${t}.${kind}/${e.name}"; value.source = src; });
    in
    [{ name = if e.u.overrideStrategy or "" == "asDropin" then "systemd/system/${e.name}.d/overrides.conf" else "systemd/system/${e.name}"; value.source = src; }]
    ++ (if e.u.enable then dir "wants" e.u.wantedBy ++ dir "requires" e.u.requiredBy ++ dir "upholds" e.u.upheldBy
      ++ map (a: { name = "systemd/system/${a}"; value.source = src; }) e.u.aliases else [ ]);
in
{
  options.systemd = {
    _freeform = true;
    package = mkOption { type = types.package; default = pkgs.systemd; description = "Accepted."; };
    services = unitType {
      path = opt (types.listOf (types.nullOr (types.oneOf [ types.package types.str ]))) [ ];
      environment = opt (types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package types.int types.bool ]))) { };
      serviceConfig = section;
      script = opt types.lines "";
      scriptArgs = opt types.str "";
      preStart = opt types.lines "";
      postStart = opt types.lines "";
      reload = opt types.lines "";
      preStop = opt types.lines "";
      postStop = opt types.lines "";
      restartIfChanged = opt types.bool true;
      reloadIfChanged = opt types.bool false;
      stopIfChanged = opt types.bool true;
      notSocketActivated = opt types.bool false;
      startAt = opt (types.either types.str (types.listOf types.str)) [ ];
    };
    sockets = unitType { socketConfig = section; listenStreams = strs; listenDatagrams = strs; };
    timers = unitType { timerConfig = section; };
    paths = unitType { pathConfig = section; };
    targets = unitType { };
    slices = unitType { sliceConfig = section; };
    mounts = opt (types.listOf (types.submodule { options = common // { mountConfig = section; what = mkOption { type = types.str; description = "Device."; }; where = mkOption { type = types.str; description = "Mount point."; }; type = opt types.str ""; options = opt types.commas ""; }; })) [ ];
    automounts = opt (types.listOf types.anything) [ ];
    units = opt (types.attrsOf (types.submodule { options = common // { text = opt types.lines ""; }; })) { };
    packages = opt (types.listOf types.package) [ ];
    user = { _freeform = true; services = opt (types.attrsOf types.anything) { }; timers = opt (types.attrsOf types.anything) { }; };
    network = { _freeform = true; enable = opt types.bool false; };
    tmpfiles = {
      rules = strs;
      settings = opt (types.attrsOf (types.attrsOf (types.attrsOf types.anything))) { };
      packages = opt (types.listOf types.package) [ ];
    };
    defaultUnit = opt types.str "multi-user.target";
    globalEnvironment = opt (types.attrsOf types.anything) { };
    extraConfig = opt types.lines "";
    settings = opt types.anything { };
    coredump = { _freeform = true; enable = opt types.bool true; };
    oomd = { _freeform = true; enable = opt types.bool true; };
    enableEmergencyMode = opt types.bool true;
    watchdog = { _freeform = true; };
    sleep = { _freeform = true; };
    suppressedSystemUnits = strs;
  };
  config = {
    environment.etc = listToAttrs (concatMap etcOf units) // {
      "tmpfiles.d/00-nixos.conf".text = concatMapStrings (r: r + "\n") (cfg.tmpfiles.rules
        ++ concatLists (mapAttrsToList
          (_: paths: concatLists (mapAttrsToList
            (path: types': mapAttrsToList
              (t: v: "${v.type or t} ${path} ${v.mode or "-"} ${v.user or "-"} ${v.group or "-"} ${v.age or "-"} ${v.argument or ""}")
              types')
            paths))
          cfg.tmpfiles.settings));
    };
    assertions = mapAttrsToList
      (n: u: {
        assertion = !(u.reloadIfChanged && u.script == "" && u.reload == "" && !(u.serviceConfig ? ExecReload) && u.enable);
        message = "systemd.services.${n}: reloadIfChanged needs reload or serviceConfig.ExecReload (a rule of the small NixOS)";
      })
      cfg.services;
  };
}
