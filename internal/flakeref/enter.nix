# The outputs of a flake out of a lock that need not be written anywhere: of a
# dirty tree, of one whose lock file lacks inputs, and with inputs that are
# overridden. builtins.getFlake has no way to be told any of these where
# evaluation is pure; a clean tree with its own lock goes that way instead.
#
#   lock     the lock file (version 7) as JSON text: what Nix itself worked out
#   locked   the root as Nix locked it
#   path     the root's files in the store
#   dir      the directory of its flake.nix in there
#   there    nodes whose files the store has, and where
#   changed  whether the lock differs from the one in the tree: then Nix hides
#            the revision, since the tree is not all that went in
{ lock, locked, path, dir, there, changed }:
let
  inherit (builtins)
    compareVersions concatStringsSep elemAt fetchTree filter foldl' fromJSON genList head intersectAttrs isList
    isString length mapAttrs nixVersion removeAttrs split substring tail;

  all = fromJSON lock;

  # An input is the name of a node, or the way to another input from the root.
  nodeOf = spec: if isList spec then walk all.root spec else spec;
  walk = node: steps: if steps == [ ] then node else walk (nodeOf all.nodes.${node}.inputs.${head steps}) (tail steps);

  without = set: removeAttrs set [ "dir" "__final" ];

  # What Nix says of a tree that the store has already. fetchTree would ask the network
  # again, since 2.26: it does not trust what a lock says, as getFlake does.
  present = path: given: hide:
    removeAttrs
      (fetchTree ({ type = "path"; inherit path; inherit (given) narHash; } // intersectAttrs { lastModified = null; } given)
        // intersectAttrs { rev = null; revCount = null; dirtyRev = null; dirtyShortRev = null; } given
        // (if given ? rev then { shortRev = substring 0 7 given.rev; } else { })
        // (if given.type == "git" then { submodules = given.submodules or false; } else { }))
      (hide ++ (if given ? lastModified then [ ] else [ "lastModified" "lastModifiedDate" ]));
  fetch = name: node:
    if there ? ${name} then present there.${name} node.locked [ ]
    else fetchTree (node.info or { } // without node.locked);

  root = present path locked (if changed then [ "rev" "shortRev" "revCount" ] else [ ]);

  # a/./b/../c -> a/c, with what the text depends on.
  clean = text:
    let
      step = done: word:
        if word == "" || word == "." then done
        else if word == ".." then genList (elemAt done) (length done - 1)
        else done ++ [ word ];
    in
    substring 0 0 text + "/" + concatStringsSep "/" (foldl' step [ ] (filter isString (split "/" text)));

  # Before 2.14 `self.outPath' is the whole tree, wherever flake.nix is in it.
  subdirs = compareVersions nixVersion "2.14" >= 0;

  nodes = mapAttrs
    (name: node:
      let
        isRoot = name == all.root;
        given = node.locked;
        within = ! isRoot && given.type == "path" && substring 0 1 given.path != "/";
        # Since 2.26 an input below its parent is a directory of the parent's tree;
        # before, it is a tree of its own, which the lock has the hash of.
        shared = within && ! given ? narHash;
        parent = nodes.${walk all.root (node.parent or [ ])};
        sourceInfo =
          if isRoot then root
          else if shared then parent.sourceInfo
          else if within then fetchTree (without given // { path = builtins.unsafeDiscardStringContext (clean "${parent.home}/${given.path}"); })
          else fetch name node;
        subdir = if isRoot then dir else given.dir or "";
        # Where its flake.nix is.
        home =
          if shared then clean "${parent.home}/${given.path}"
          else sourceInfo.outPath + (if subdir == "" then "" else "/" + subdir);
        inputs = mapAttrs (_: spec: nodes.${nodeOf spec}.result) (node.inputs or { });
        outputs = (import (home + "/flake.nix")).outputs (inputs // { self = flake; });
        flake = outputs // sourceInfo // {
          inherit inputs outputs sourceInfo;
        } // (if subdirs then { outPath = home; _type = "flake"; } else { });
      in
      {
        inherit sourceInfo home;
        result =
          if node.flake or true then flake
          else if subdirs then sourceInfo // { inherit sourceInfo; outPath = home; }
          else sourceInfo;
      })
    all.nodes;
in
nodes.${all.root}.result
