# The names that a configuration sees in place of Nix's own, so that what it reads of this
# machine is known. What they give is what Nix gives; where that cannot be told again
# later, they end the evaluation, and it is made without them.
{ aside    # begins each line that tells what was read
, env      # the environment of the evaluation
, files    # files that are most likely read: each is parsed once a process, as import does
}:
let
  b = builtins;
  say = word: value: b.trace (aside + " " + word + " " + b.toJSON value);
  # Not throw: tryEval would catch it.
  refuse = word: what: say "blame" { inherit word what; } (abort ("not kept: " + what));
  text = p: b.unsafeDiscardStringContext (toString p);

  memo = b.listToAttrs (map (name: { inherit name; value = b.scopedImport scope name; }) files);
  import' = p:
    let s = toString p; in
    if b.hasContext s then b.scopedImport scope p else memo.${s} or (b.scopedImport scope p);

  pinned = attr: what: fetch: args:
    if b.isAttrs args && args ? ${attr} then fetch args else refuse what "${what} without ${attr}";

  own = {
    import = import';
    scopedImport = more: p: b.scopedImport (scope // more) p;
    getEnv = name: say "env" name (env.${name} or "");
    pathExists = p: let is = b.pathExists p; in say "exists" { path = text p; inherit is; } is;
    readDir = p: if text p == b.storeDir then refuse "readDir" "the names of all store paths" else say "names" (text p) (b.readDir p);
    # Of a list of its own, Nix asks for itself which of the directories are there.
    findFile = paths: name:
      let asks = _: e:
        if b.isString e.path && b.substring 0 1 e.path != "/" then refuse "findFile" "a search path that is not of absolute paths"
        else b.seq (own.pathExists e.path) (say "names" (text e.path) null);
      in b.seq (if paths == own.nixPath then null else b.foldl' asks null paths) (b.findFile paths name);
    nixPath = b.filter (e: b.substring 0 7 e.prefix != "godwit-") b.nixPath;
    currentTime = refuse "currentTime" "the current time";
    fetchTarball = pinned "sha256" "fetchTarball" b.fetchTarball;
    fetchurl = pinned "sha256" "fetchurl" b.fetchurl;
    fetchGit = pinned "rev" "fetchGit" b.fetchGit;
    fetchMercurial = pinned "rev" "fetchMercurial" b.fetchMercurial;
    fetchTree = pinned "narHash" "fetchTree" b.fetchTree;
    fetchFinalTree = _: refuse "fetchFinalTree" "what fetchFinalTree gives";
    fetchClosure = _: refuse "fetchClosure" "what fetchClosure gives";
    getFlake = _: refuse "getFlake" "what getFlake gives";
    exec = _: refuse "exec" "what exec gives";
    importNative = _: _: refuse "importNative" "what importNative gives";
  };
  all = b // b.intersectAttrs b own // { builtins = all; };
  # Names that stand without `builtins.`: with two underscores, but for a few.
  scope = { builtins = all; inherit (all) import scopedImport fetchTarball fetchGit fetchMercurial; }
    // (if b ? fetchTree then { inherit (all) fetchTree; } else { })
    // b.listToAttrs (map (name: { name = "__" + name; value = all.${name}; }) (b.attrNames (b.intersectAttrs b own)));
in
scope
