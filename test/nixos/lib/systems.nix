# Platforms: "aarch64-linux" or { system = …; } to the attributes that packages and modules ask for.
self:
let
  cpus = {
    x86_64 = { bits = 64; family = "x86"; linuxArch = "x86_64"; };
    i686 = { bits = 32; family = "x86"; linuxArch = "i386"; };
    aarch64 = { bits = 64; family = "arm"; linuxArch = "arm64"; };
    armv7l = { bits = 32; family = "arm"; linuxArch = "arm"; };
    armv6l = { bits = 32; family = "arm"; linuxArch = "arm"; };
    riscv64 = { bits = 64; family = "riscv"; linuxArch = "riscv"; };
  };
  # "aarch64-unknown-linux-gnu" -> "aarch64-linux"
  systemOfConfig = config:
    let
      m = builtins.match "([^-]+)-(.*-)?(linux|darwin|apple-darwin)(-[^-]+)?" config;
    in
    if m == null then throw "system '${config}' is not known" else "${builtins.head m}-${if builtins.match ".*darwin.*" config != null then "darwin" else "linux"}";
in
rec {
  elaborate = arg:
    let
      args = if builtins.isString arg then { system = arg; } else removeAttrs arg [ "__toString" ];
      system = args.system or (systemOfConfig args.config);
      m = builtins.match "([^-]+)-([^-]+)" system;
      cpu = builtins.elemAt m 0;
      kernel = builtins.elemAt m 1;
      info = cpus.${cpu} or (throw "Unknown CPU type: ${cpu}");
      final =
        if args ? linuxArch && args ? parsed then args
        else if m == null then throw "system '${system}' is not known"
        else {
          inherit system;
          config = if kernel == "darwin" then "${if cpu == "aarch64" then "arm64" else cpu}-apple-darwin" else "${cpu}-unknown-linux-gnu";
          parsed = { cpu = { name = cpu; inherit (info) bits family; }; kernel = { name = kernel; }; vendor.name = if kernel == "darwin" then "apple" else "unknown"; abi.name = "gnu"; };
          inherit (info) linuxArch;
          isLinux = kernel == "linux";
          isDarwin = kernel == "darwin";
          isUnix = true;
          isWindows = false;
          isx86_64 = cpu == "x86_64";
          isi686 = cpu == "i686";
          isx86_32 = cpu == "i686";
          isx86 = info.family == "x86";
          isAarch64 = cpu == "aarch64";
          isAarch32 = info.family == "arm" && info.bits == 32;
          isAarch = info.family == "arm";
          isRiscV = info.family == "riscv";
          isRiscV64 = cpu == "riscv64";
          is64bit = info.bits == 64;
          is32bit = info.bits == 32;
          isMusl = false;
          isGnu = kernel == "linux";
          isStatic = false;
          isEfi = true;
          uname = { system = if kernel == "linux" then "Linux" else "Darwin"; processor = cpu; release = null; };
          qemuArch = cpu;
          libc = if kernel == "linux" then "glibc" else "libSystem";
          useLLVM = false;
          gcc = { };
          linux-kernel = { name = cpu; target = if cpu == "aarch64" then "Image" else "bzImage"; };
          extensions = { sharedLibrary = if kernel == "darwin" then ".dylib" else ".so"; executable = ""; };
          canExecute = other: (other.system or other) == system;
          emulator = _: throw "no emulator in the small NixOS";
          __toString = _: system;
        } // removeAttrs args [ "system" "config" ];
    in
    final;
  equals = a: b: a.system == b.system;
  parse.mkSystemFromString = s: (elaborate s).parsed;
  examples = {
    aarch64-multiplatform.config = "aarch64-unknown-linux-gnu";
    raspberryPi.config = "armv6l-unknown-linux-gnueabihf";
    gnu64.config = "x86_64-unknown-linux-gnu";
  };
  flakeExposed = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" "armv7l-linux" "i686-linux" "riscv64-linux" ];
  doubles = {
    linux = self.platforms.linux;
    darwin = self.platforms.darwin;
    all = self.platforms.all;
  };
  supported = { hydra = flakeExposed; };
}
