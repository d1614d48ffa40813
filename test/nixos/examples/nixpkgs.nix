# Which package set the examples use: whatever NIX_PATH says.
<nixpkgs>
