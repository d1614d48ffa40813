# The packages. `tool` packages hold links to the programs of the Debian machine they will run on.
final: prev:
let
  inherit (final) lib stdenv;
  inherit (lib) concatMapStrings escapeShellArg;

  # A package with files of its own: { "bin/x" = text; }.
  pkg = pname: version: files: attrs: stdenv.mkDerivation ({
    inherit pname version;
    buildCommand = "mkdir -p \"$out\"\n" + concatMapStrings
      (f: ''
        t="$out"/${escapeShellArg f}; [ -d "''${t%/*}" ] || mkdir -p "''${t%/*}"; printf '%s' ${escapeShellArg files.${f}} > "$t"
        case ${escapeShellArg f} in */bin/* | bin/*) chmod 755 "$t" ;; esac
      '')
      (builtins.attrNames files) + attrs.extra or "";
    meta = { mainProgram = pname; platforms = lib.platforms.unix; } // attrs.meta or { };
    passthru = attrs.passthru or { };
  });
  # Links to what Debian has: usr/bin or usr/sbin.
  tool = pname: version: bins: attrs: stdenv.mkDerivation {
    inherit pname version;
    buildCommand = "mkdir -p \"$out/bin\"\nln -s -t \"$out/bin\" ${toString (map (b: if lib.hasPrefix "/" b then b else "/usr/bin/${b}") bins)}\n";
    meta = { mainProgram = pname; platforms = lib.platforms.unix; } // attrs.meta or { };
    passthru = { labBins = bins; } // attrs.passthru or { };
  };
  # As the real packages that begin with `assert stdenv.isLinux;`.
  onLinux = p: assert (stdenv).isLinux; p;
  daemon = pname: version: onLinux (pkg pname version { "bin/${pname}" = "#!/bin/sh\nwhile :; do sleep 3600; done\n"; } { });

  kernel = version: onLinux (stdenv.mkDerivation {
    pname = "linux";
    inherit version;
    buildCommand = ''
      mkdir -p "$out/lib/modules/${version}"
      printf 'kernel %s for %s\n' ${version} ${final.hostPlatform.system} > "$out/${stdenv.hostPlatform.linux-kernel.target}"
      printf '# none\n' > "$out/lib/modules/${version}/modules.dep"
    '';
    passthru = { modDirVersion = version; features = { }; kernelOlder = v: lib.versionOlder version v; kernelAtLeast = v: lib.versionAtLeast version v; };
  });
  packagesFor = k: lib.makeExtensible (self: {
    kernel = k;
    wireguard = null;
    zfs = final.zfs;
    callPackage = final.newScope self;
  });
in
{
  hello = pkg "hello" "2.12.1" { "bin/hello" = "#!/bin/sh\necho 'Hello, world!'\n"; "share/doc/hello/README" = "Says hello.\n"; } { };
  cowsay = pkg "cowsay" "3.8.4" { "bin/cowsay" = "#!/bin/sh\necho \"< $* >\"\n"; } { };
  figlet = pkg "figlet" "2.2.5" { "bin/figlet" = "#!/bin/sh\necho \"$*\"\n"; } { };
  nginx = daemon "nginx" "1.28.0";
  postgresql = daemon "postgresql" "17.6";
  postgresql_17 = final.postgresql;
  redis = daemon "redis" "8.2.2";
  dnsmasq = daemon "dnsmasq" "2.91";
  prometheus = daemon "prometheus" "3.5.0";
  grafana = daemon "grafana" "12.2.0";
  tailscale = daemon "tailscale" "1.88.3";
  caddy = daemon "caddy" "2.10.2";
  zfs = daemon "zfs" "2.3.4";
  fail2ban = daemon "fail2ban" "1.1.0";
  docker = daemon "docker" "28.5.1";
  wireguard-tools = tool "wireguard-tools" "1.0.20250521" [ "wg" ] { };

  bash = tool "bash" "5.3" [ "bash" "sh" ] { passthru.shellPath = "/bin/bash"; };
  bashInteractive = final.bash;
  dash = tool "dash" "0.5.12" [ "dash" ] { };
  zsh = tool "zsh" "5.9" [ "zsh" ] { passthru.shellPath = "/bin/zsh"; };
  fish = tool "fish" "4.1" [ "fish" ] { passthru.shellPath = "/bin/fish"; };
  coreutils = tool "coreutils" "9.8" [
    "basename" "base64" "cat" "chgrp" "chmod" "chown" "cp" "cut" "date" "dd" "df" "dirname" "du" "echo" "env" "expr" "false"
    "head" "hostname" "id" "install" "join" "ln" "ls" "md5sum" "mkdir" "mkfifo" "mktemp" "mv" "nice" "nohup" "nproc" "od"
    "paste" "printf" "pwd" "readlink" "realpath" "rm" "rmdir" "seq" "sha256sum" "sleep" "sort" "split" "stat" "stdbuf"
    "stty" "sync" "tac" "tail" "tee" "test" "timeout" "touch" "tr" "true" "truncate" "tty" "uname" "uniq" "wc" "who" "whoami" "yes"
  ] { };
  coreutils-full = final.coreutils;
  # Looks twice a second, and knows no option but those that key units use.
  inotify-tools = pkg "inotify-tools" "4.23.9.0" {
    "bin/inotifywait" = ''
      #!/bin/sh
      gone= left=-1
      while [ $# -gt 1 ]; do
        case $1 in
          -qq) shift ;;
          -t) left=$(($2 * 2)); shift 2 ;;
          -e) case $2 in create | moved_to) ;; delete_self | move_self) gone=1 ;; *) echo "unknown event $2" >&2; exit 1 ;; esac; shift 2 ;;
          *) echo "unknown option $1" >&2; exit 1 ;;
        esac
      done
      look() { if [ -n "$gone" ]; then stat -c %i -- "$1"; else ls -A -- "$1"; fi; }
      was=$(look "$1") || exit 1
      while [ "$left" != 0 ]; do
        sleep 0.5
        [ "$(look "$1" 2>&1)" = "$was" ] || exit 0
        left=$((left - 1))
      done
      exit 2
    '';
  } { };
  findutils = tool "findutils" "4.10.0" [ "find" "xargs" ] { };
  gnugrep = tool "gnugrep" "3.12" [ "grep" "egrep" "fgrep" ] { };
  gnused = tool "gnused" "4.9" [ "sed" ] { };
  gawk = tool "gawk" "5.3.2" [ "awk" ] { };
  gnutar = tool "gnutar" "1.35" [ "tar" ] { };
  gzip = tool "gzip" "1.14" [ "gzip" "gunzip" "zcat" ] { };
  diffutils = tool "diffutils" "3.12" [ "diff" "cmp" ] { };
  util-linux = tool "util-linux" "2.41.2" [ "flock" "mount" "umount" "findmnt" "lsblk" "logger" "mountpoint" "nsenter" "setsid" "unshare" "/usr/sbin/blkid" "/usr/sbin/swapon" "/usr/sbin/swapoff" "su" "kill" "dmesg" "more" ] { };
  procps = tool "procps" "4.0.5" [ "ps" "pgrep" "pkill" "top" "free" "uptime" "/usr/sbin/sysctl" ] { };
  systemd = tool "systemd" "258.1" [
    "systemctl" "systemd-run" "journalctl" "loginctl" "systemd-analyze" "systemd-notify" "systemd-tmpfiles" "systemd-escape" "systemd-cat" "systemd-cgls" "hostnamectl" "timedatectl" "bootctl" "networkctl" "busctl"
    "/usr/sbin/reboot" "/usr/sbin/poweroff" "/usr/sbin/halt" "/usr/sbin/shutdown"
  ] { };
  openssh = tool "openssh" "10.2p1" [ "ssh" "scp" "sftp" "ssh-keygen" "ssh-add" "ssh-agent" "ssh-keyscan" "/usr/sbin/sshd" ] { };
  sudo = tool "sudo" "1.9.17" [ "sudo" "/usr/sbin/visudo" ] { };
  iproute2 = tool "iproute2" "6.17.0" [ "/usr/sbin/ip" "/usr/bin/ss" ] { };
  iputils = tool "iputils" "20250605" [ "ping" ] { };
  nftables = tool "nftables" "1.1.5" [ "/usr/sbin/nft" ] { };
  iptables = tool "iptables" "1.8.11" [ "/usr/sbin/iptables" "/usr/sbin/ip6tables" ] { };
  kmod = tool "kmod" "34.2" [ "/usr/sbin/modprobe" "/usr/bin/lsmod" ] { };
  shadow = tool "shadow" "4.18.0" [ "/usr/sbin/useradd" "/usr/sbin/usermod" "/usr/sbin/groupadd" "passwd" "login" "/usr/sbin/nologin" ] { };
  nix = tool "nix" "2.31.2" [ "nix" "nix-build" "nix-channel" "nix-collect-garbage" "nix-copy-closure" "nix-daemon" "nix-env" "nix-hash" "nix-instantiate" "nix-prefetch-url" "nix-shell" "nix-store" ] { };
  nixVersions = { latest = final.nix; stable = final.nix; };
  lix = final.nix;
  curl = tool "curl" "8.16.0" [ "curl" ] { };
  wget = tool "wget" "1.25.0" [ "wget" ] { };
  git = tool "git" "2.51.1" [ "git" ] { };
  gitMinimal = final.git;
  vim = tool "vim" "9.1.1869" [ "vim" "vi" ] { };
  neovim = tool "neovim" "0.11.4" [ "nvim" ] { };
  nano = tool "nano" "8.6" [ "nano" ] { };
  htop = tool "htop" "3.4.1" [ "htop" ] { };
  tmux = tool "tmux" "3.5a" [ "tmux" ] { };
  jq = tool "jq" "1.8.1" [ "jq" ] { };
  rsync = tool "rsync" "3.4.1" [ "rsync" ] { };
  age = tool "age" "1.2.1" [ "age" "age-keygen" ] { };
  sops = tool "sops" "3.11.0" [ "sops" ] { };
  openssl = tool "openssl" "3.6.0" [ "openssl" ] { };
  perl = tool "perl" "5.42.0" [ "perl" ] { };
  python3 = tool "python3" "3.13.8" [ "python3" ] { };
  gcc = tool "gcc" "14.3.0" [ "gcc" "cc" ] { };
  tzdata = pkg "tzdata" "2025b" { "share/zoneinfo/UTC" = "TZif2"; } { };
  cacert = pkg "nss-cacert" "3.117" { "etc/ssl/certs/ca-bundle.crt" = "# none\n"; } { };
  raspberrypi-eeprom = pkg "raspberrypi-eeprom" "2025.10" { "bin/rpi-eeprom-update" = "#!/bin/sh\nexit 0\n"; } { };
  libraspberrypi = pkg "libraspberrypi" "2025" { "bin/vcgencmd" = "#!/bin/sh\nexit 0\n"; } { };
  raspberrypifw = pkg "raspberrypi-firmware" "1.2025" { "share/raspberrypi/boot/start4.elf" = ""; } { };
  ethtool = tool "ethtool" "6.15" [ "/usr/sbin/ethtool" ] { };
  tcpdump = tool "tcpdump" "4.99" [ "tcpdump" ] { };
  lsof = tool "lsof" "4.99" [ "lsof" ] { };
  dig = tool "dig" "9.20" [ "dig" ] { };
  dnsutils = final.dig;
  file = tool "file" "5.45" [ "file" ] { };
  tree = tool "tree" "2.2.1" [ "tree" ] { };
  ripgrep = tool "ripgrep" "14.1" [ "rg" ] { };
  unzip = tool "unzip" "6.0" [ "unzip" ] { };
  linux-firmware = pkg "linux-firmware" "20251021" { "lib/firmware/README" = "none\n"; } { };

  linux = kernel "6.12.55";
  linux_6_12 = final.linux;
  linux_latest = kernel "6.17.5";
  linux_rpi4 = kernel "6.6.51";
  linux_rpi3 = final.linux_rpi4;
  inherit packagesFor;
  linuxPackagesFor = packagesFor;
  linuxPackages = packagesFor final.linux;
  linuxPackages_6_12 = packagesFor final.linux_6_12;
  linuxPackages_latest = packagesFor final.linux_latest;
  linuxPackages_rpi4 = packagesFor final.linux_rpi4;
  linuxPackages_rpi3 = packagesFor final.linux_rpi3;
  linuxKernel = { packages = { linux_6_12 = final.linuxPackages; linux_rpi4 = final.linuxPackages_rpi4; linux_rpi3 = final.linuxPackages_rpi3; linux_latest = final.linuxPackages_latest; }; inherit packagesFor; };

  # What every system has in sw, as one package: builds stay small.
  lab-base = tool "lab-base" "1" (lib.concatMap (p: p.labBins) (with final; [
    bash coreutils diffutils findutils gawk gnugrep gnused gnutar gzip iproute2 kmod nix openssh procps shadow sudo systemd util-linux
  ])) { };

  # For tests: a package that fails to build, one that takes five seconds.
  lab-fails = stdenv.mkDerivation { pname = "lab-fails"; version = "1"; buildCommand = "echo 'checking for luck ... no' >&2; exit 1"; };
  lab-slow = stdenv.mkDerivation { pname = "lab-slow"; version = "1"; buildCommand = "for i in 1 2 3 4 5; do echo step $i; sleep 1; done; mkdir -p \"$out\""; };
  lab-unfree =
    if final.config.allowUnfree then pkg "lab-unfree" "1" { "bin/lab-unfree" = "#!/bin/sh\n"; } { }
    else throw "Package ‘lab-unfree-1’ in ${toString ./packages.nix} has an unfree license (‘unfree’), refusing to evaluate.";
}
