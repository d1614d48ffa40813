{ lib, ... }:
with lib;
{
  options = {
    assertions = mkOption { type = types.listOf types.unspecified; default = [ ]; internal = true; description = "Conditions that have to hold."; };
    warnings = mkOption { type = types.listOf types.str; default = [ ]; internal = true; description = "Texts shown when the configuration is evaluated."; };
    meta = {
      _freeform = true;
      maintainers = mkOption { type = types.listOf types.unspecified; default = [ ]; internal = true; description = "Maintainers."; };
    };
    lib = mkOption { type = types.attrsOf types.attrs; default = { }; description = "Functions for other modules."; };
  };
}
