{ config, lib, extendModules, ... }:
with lib;
{
  options = {
    specialisation = mkOption {
      default = { };
      description = "Variants of the system, built with it.";
      type = types.attrsOf (types.submodule ({ config, ... }:
        let variant = extendModules { modules = [{ specialisation = mkOverride 0 { }; isSpecialisation = mkOverride 0 true; }]; };
        in {
          options = {
            inheritParentConfig = mkOption { type = types.bool; default = true; description = "Whether it is the parent with changes."; };
            configuration = mkOption { default = { }; inherit (variant) type; visible = "shallow"; description = "The changes."; };
          };
        }));
    };
    isSpecialisation = mkOption { type = types.bool; internal = true; default = false; description = "Whether this is a variant."; };
  };
}
