# Body of bin/switch-to-configuration. The build puts these lines before it: #!/bin/sh, TOPLEVEL=…, PRE_SWITCH_CHECK=…,
# NG=1 for the newer one in Rust (system.switch.enableNg) or NG= for the older one in perl, and the functions
# lab_switch_script (lab.switchScript) and lab_user_part (lab.userScript), empty unless a test wants a fault.
# shellcheck shell=sh
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH TOPLEVEL

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
die_errno() { e=$1; shift; say "$*"; exit "$e"; } # both of them end with the errno of the moment in some places
nl='
'
# Without a process where there is only one, as processes are what takes time here.
words() { # newline list -> sorted, each once
  one=${1%"$nl"}
  case $one in
    *"$nl"*) printf '%s' "$1" | sed '/^$/d' | LC_ALL=C sort -u ;;
    ?*) printf '%s\n' "$one" ;;
  esac
}
listed() { # newline list -> a, b
  one=${1%"$nl"}
  case $one in
    *"$nl"*) words "$1" | paste -s -d , | sed 's/,/, /g' ;;
    *) printf '%s' "$one" ;;
  esac
}
# Without a process, as there are many units, and a process takes long where the processor is emulated.
any() { case $1 in *[!"$nl"]*) return 0 ;; *) return 1 ;; esac; } # LIST: of lines, has it an item?
has() { case $nl$1$nl in *"$nl$2$nl"*) return 0 ;; *) return 1 ;; esac; } # LIST ITEM
# alike FILE FILE: the same text, or neither is there; without a process where it is one file.
# shellcheck disable=SC3013 # POSIX has -ef since 2024; dash and bash had it before
alike() {
  [ "$1" -ef "$2" ] || { [ ! -e "$1" ] && [ ! -e "$2" ]; } || cmp -s "$1" "$2"
}
tell() { if any "$2"; then say "$1 $(listed "$2")"; fi; } # TEXT LIST

action=${1:-}
case $action in
  check | switch | boot | test | dry-activate) ;;
  *)
    say "Usage: $0 [check|switch|boot|test|dry-activate]"
    say
    say "check:        run pre-switch checks and exit"
    say "switch:       make the configuration the boot default and activate now"
    say "boot:         make the configuration the boot default"
    say "test:         activate the configuration, but don't make it the boot default"
    say "dry-activate: show what would be done if this configuration were activated"
    exit 1
    ;;
esac
NIXOS_ACTION=$action
export NIXOS_ACTION

[ "$(id -u)" = 0 ] || die "Error: switch-to-configuration must be run as the root user"
[ -f /etc/NIXOS ] || die_errno 2 "This is not a NixOS installation!"

[ -d /run/nixos ] || mkdir -p /run/nixos || exit 1
{ true >>/run/nixos/switch-to-configuration.lock; } 2>/dev/null || die_errno 13 "Could not open lock"
exec 9>>/run/nixos/switch-to-configuration.lock
if [ -n "$NG" ]; then
  flock -n 9 || die_errno 11 "Could not acquire lock" # since 25.05 nobody waits for it
else
  flock 9 || die_errno 11 "Could not acquire lock"
fi

if [ "${NIXOS_NO_CHECK:-}" != 1 ]; then
  if ! "$PRE_SWITCH_CHECK" "$TOPLEVEL" "$action" 9>&- >&2; then
    die "Pre-switch checks failed"
  fi
fi
[ "$action" != check ] || exit 0

case $action in
  switch | test)
    if [ "${NIXOS_NO_CHECK:-}" != 1 ] && [ -e /run/booted-system ] &&
      ! alike "$TOPLEVEL/switch-inhibitors" /run/booted-system/switch-inhibitors; then
      say "There are changes to critical components of the system:"
      say "  $(cat /run/booted-system/switch-inhibitors 2>/dev/null) -> $(cat "$TOPLEVEL/switch-inhibitors" 2>/dev/null)"
      say "Switching into this system is not recommended."
      say "You probably want to run 'nixos-rebuild boot' and reboot your system instead."
      say "If you really want to switch into this configuration directly, then"
      say "you can set NIXOS_NO_CHECK=1 to ignore these pre-switch checks."
      exit 1
    fi
    ;;
esac

# --- the boot loader of the lab: one file ------------------------------------------------------------------------------
install_boot_loader() {
  [ ! -e /boot/loader/broken ] || { say "updating the boot loader: /boot/loader/broken exists"; return 1; }
  mkdir -p /boot/loader/entries || return 1
  for e in /boot/loader/entries/nixos-generation-*; do
    g=${e##*/nixos-generation-}
    [ -L "/nix/var/nix/profiles/system-$g-link" ] || rm -f "$e"
  done
  for p in /nix/var/nix/profiles/system-*-link; do
    [ -L "$p" ] || continue
    g=${p##*/system-}
    e=/boot/loader/entries/nixos-generation-${g%-link}
    (cd -P "$p" 2>/dev/null && pwd) >"$e" || readlink -f "$p" >"$e" || return 1
  done
  # The real one appends the secrets of the system that becomes the default to its initial ram disk.
  rm -rf /boot/loader/initrd-secrets
  [ ! -x "$TOPLEVEL/append-initrd-secrets" ] || "$TOPLEVEL/append-initrd-secrets" /boot/loader/initrd-secrets || return 1
  printf '%s\n' "$TOPLEVEL" >/boot/loader/default.new && mv -f /boot/loader/default.new /boot/loader/default
}
case $action in
  switch | boot) install_boot_loader || die "Failed to install bootloader" ;;
esac
[ "$action" != boot ] || exit 0

if [ -e /run/current-system/init-interface-version ] &&
  ! alike "$TOPLEVEL/init-interface-version" /run/current-system/init-interface-version; then
  say "Warning: the new NixOS configuration has an ‘init’ that is incompatible with the current configuration. The new configuration"
  say "won't take effect until you reboot the system."
  exit 100
fi

# --- which units differ ------------------------------------------------------------------------------------------------
old=$(readlink -f /etc/static 2>/dev/null)/systemd/system
new=$TOPLEVEL/etc/systemd/system
tmp=$(mktemp -d -p /run 2>/dev/null || mktemp -d) || exit 1 # not in /tmp: the real one keeps nothing there
trap 'rm -rf "$tmp"' EXIT

list_units() { systemctl list-units --all --plain --full --no-legend --no-pager | awk '{ print $1, $3, $4 }'; }
file_of() { # DIR UNIT: its file, or that of its template, in $file; nothing where there is none or it is masked
  file=$1/$2
  case $2 in *@*) [ -e "$file" ] || file=$1/${2%%@*}@.${2##*.} ;; esac
  [ -f "$file" ] && [ -s "$file" ] || file=''
}
# shellcheck disable=SC3013 # POSIX has -ef since 2024; dash and bash had it before
same() { [ "$1" -ef "$2" ]; }
value() { # FILE KEY: in $value, of its last line; nothing where there is none
  value=''
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in "$2="*) value=${line#"$2="} ;; esac
  done <"$1"
}
yes() { value "$1" "$2"; case $value in 1 | yes | true | on) return 0 ;; *) return 1 ;; esac; }
no() { value "$1" "$2"; case $value in 0 | no | false | off) return 0 ;; *) return 1 ;; esac; }
core() { sed -e '/^Description=/d' -e '/^Documentation=/d' -e '/^X-Reload-Triggers=/d' -e '/^OnFailure=/d' -e '/^OnSuccess=/d' "$1"; }

stop='' start='' quiet='' restart='' reload='' skipped='' unstopped=''
list_units >"$tmp/before"
before=$nl$(cat "$tmp/before")
ran() { case $before in *"$nl$1 active "* | *"$nl$1 activating "* | *"$nl$1 reloading "*) return 0 ;; *) return 1 ;; esac; } # UNIT

changed_unit() { # UNIT NEWFILE
  case $1 in
    sysinit.target | basic.target | multi-user.target | graphical.target | *.path | *.slice) return ;;
    *.mount) reload=$reload$1$nl; return ;;
  esac
  if yes "$2" X-ReloadIfChanged && ! has "$restart" "$1"; then reload=$reload$1$nl
  elif no "$2" X-RestartIfChanged || yes "$2" RefuseManualStop || yes "$2" X-OnlyManualStart; then skipped=$skipped$1$nl
  elif no "$2" X-StopIfChanged; then restart=$restart$1$nl
  else stop=$stop$1$nl; start=$start$1$nl
  fi
}

while read -r unit state _; do
  case $state in active | activating | reloading) ;; *) continue ;; esac
  file_of "$old" "$unit"
  was=$file
  [ -n "$was" ] || continue
  file_of "$new" "$unit"
  is=$file
  if [ -z "$is" ]; then
    if no "$was" X-StopOnRemoval; then unstopped=$unstopped$unit$nl; else stop=$stop$unit$nl; fi
  elif [ "${unit##*.}" = target ]; then
    if ! yes "$is" RefuseManualStart && ! yes "$is" X-OnlyManualStart; then quiet=$quiet$unit$nl; fi
    if yes "$is" X-StopOnReconfiguration; then stop=$stop$unit$nl; fi
  elif ! same "$was" "$is" && ! cmp -s "$was" "$is"; then
    core "$was" >"$tmp/was"
    core "$is" >"$tmp/is"
    if ! cmp -s "$tmp/was" "$tmp/is"; then changed_unit "$unit" "$is"
    else
      value "$was" X-Reload-Triggers
      triggers=$value
      value "$is" X-Reload-Triggers
      [ "$triggers" = "$value" ] || reload=$reload$unit$nl
    fi
  fi
done <"$tmp/before"

# Active targets are started again, so that they bring in what they newly want. Most targets are Debian's own here.
for d in "$new"/*.wants "$new"/*.requires; do
  [ -d "$d" ] || continue
  t=${d##*/}; t=${t%.*}
  if ran "$t"; then quiet=$quiet$t$nl; fi
done

# Drop-ins for units that are Debian's own (ssh.service).
for d in "$old"/*.d "$new"/*.d; do
  [ -d "$d" ] || continue
  unit=${d##*/}; unit=${unit%.d}
  if ran "$unit" && [ "$(cat "$old/$unit.d"/*.conf 2>/dev/null)" != "$(cat "$new/$unit.d"/*.conf 2>/dev/null)" ] &&
    ! has "$stop$restart" "$unit"; then
    restart=$restart$unit$nl
  fi
done

# What an interrupted run still had to do.
for l in start restart reload; do
  [ -s "/run/nixos/$l-list" ] || continue
  more=$(cat "/run/nixos/$l-list")$nl
  case $l in start) start=$start$more ;; restart) restart=$restart$more ;; reload) reload=$reload$more ;; esac
done

# --- only say it -------------------------------------------------------------------------------------------------------
if [ "$action" = dry-activate ]; then
  tell "would stop the following units:" "$stop"
  tell "would NOT stop the following units:" "$unstopped"
  tell "would NOT restart the following changed units:" "$skipped"
  say "would activate the configuration..."
  "$TOPLEVEL/dry-activate" 9>&- >&2 || :
  for l in restart reload; do
    f=/run/nixos/dry-activation-$l-list
    [ -s "$f" ] || continue
    case $l in restart) restart=$restart$(cat "$f")$nl ;; reload) reload=$reload$(cat "$f")$nl ;; esac
    rm -f "$f"
  done
  tell "would reload the following units:" "$reload"
  tell "would restart the following units:" "$restart"
  tell "would start the following units:" "$start"
  exit 0
fi

# --- do it -------------------------------------------------------------------------------------------------------------
record() { # NAME LIST
  if any "$2"; then words "$2" >"/run/nixos/$1-list"; else rm -f "/run/nixos/$1-list"; fi
}
record start "$start"
record restart "$restart"
record reload "$reload"
res=0
say_to_log() { logger -t nixos "$1 to system configuration $TOPLEVEL" 2>/dev/null || :; }
say_to_log switching

lab_switch_script 9>&-

if any "$stop"; then
  tell "stopping the following units:" "$stop"
  # shellcheck disable=SC2046 # names of units hold no blanks
  systemctl stop -- $(words "$stop") || :
fi
tell "NOT restarting the following changed units:" "$skipped"

say "activating the configuration..."
"$TOPLEVEL/activate" "$TOPLEVEL" 9>&- || {
  res=2
  [ -z "$NG" ] || say "Failed to run activate script"
}

for l in restart reload; do
  f=/run/nixos/activation-$l-list
  [ -s "$f" ] || continue
  case $l in restart) restart=$restart$(cat "$f")$nl ;; reload) reload=$reload$(cat "$f")$nl ;; esac
  rm -f "$f"
done

# A unit of every NixOS since 24.05. Here it is none of the system's, so that lists of units stay as they are.
if [ -n "$NG" ]; then
  mkdir -p /run/systemd/system && printf '[Unit]\nDescription=Reactivate sysinit units\n' >/run/systemd/system/sysinit-reactivation.target
fi

systemctl reset-failed || :
if ! systemctl daemon-reload; then
  [ -z "$NG" ] || die "Error: systemd daemon reload failed"
  res=3
fi
systemd-tmpfiles --create --remove /etc/tmpfiles.d/00-nixos.conf 2>/dev/null || :

# The newer one has a part for each user of logind. When that cannot even be begun, the run ends in the middle of its work, and
# the lists in /run/nixos tell the next run of any system what is left.
if [ -n "$NG" ]; then
  loginctl list-users --no-legend >"$tmp/users" 2>/dev/null || die_errno 2 "Unable to list users with logind"
  while read -r uid name _; do
    lab_user_part "$name" 9>&- </dev/null || case $? in
      100) die "Error: Failed to get GID for $name" ;;
      *)
        say "warning: user activation for $name failed"
        res=4
        continue
        ;;
    esac
    say "reloading user units for $name..."
    # qemu-user does not know how to ask who is at the other end of a socket (SO_PEERGROUPS), and systemctl asks again and
    # again: a busy processor for as long as it may take.
    ! grep -qs qemu /proc/1/cmdline || continue
    gid=$(id -g "$uid") || continue
    timeout 10 setpriv --reuid "$uid" --regid "$gid" --clear-groups env -i PATH="$PATH" XDG_RUNTIME_DIR="/run/user/$uid" \
      systemctl --user daemon-reload 9>&- </dev/null >/dev/null 2>&1 || :
  done <"$tmp/users"
  say "restarting sysinit-reactivation.target"
  systemctl restart sysinit-reactivation.target || res=4
fi

# run_jobs VERB LIST: the newer one names the jobs that fail, and it alone.
run_jobs() {
  if [ -z "$NG" ]; then
    # shellcheck disable=SC2046
    systemctl "$1" -- $(words "$2") || res=4
    return
  fi
  # shellcheck disable=SC2046
  systemctl "$1" -- $(words "$2") >/dev/null 2>&1 && return
  for u in $(words "$2"); do # which of them? A second time does no harm to those that are well.
    case $1 in
      reload) systemctl reload -- "$u" >/dev/null 2>&1 && continue ;;
      *) systemctl is-active --quiet -- "$u" && continue; systemctl start -- "$u" >/dev/null 2>&1 && continue ;;
    esac
    job_failures="${job_failures}Failed to $1 $u$nl"
    res=4
  done
}
job_failures=''

if [ -n "$NG" ]; then # a unit that was stopped meanwhile is started, not reloaded
  for u in $(words "$reload"); do
    file_of "$new" "$u"
    if [ -n "$file" ] && ! systemctl is-active --quiet -- "$u"; then
      start=$start$u$nl
      reload=$(printf '%s' "$reload" | grep -vxF -e "$u")$nl
    fi
  done
fi
if any "$reload"; then
  tell "reloading the following units:" "$reload"
  run_jobs reload "$reload"
fi
rm -f /run/nixos/reload-list
if any "$restart"; then
  tell "restarting the following units:" "$restart"
  run_jobs restart "$restart"
  rm -f /run/nixos/restart-list
fi
tell "starting the following units:" "$start"
if any "$start$quiet"; then
  run_jobs start "$start$quiet"
fi
rm -f /run/nixos/start-list
printf '%s' "$job_failures" >&2

# A simple service that ends at once needs a moment to be seen.
sleep 0.3
list_units >"$tmp/after"
started='' failed=''
while read -r unit state sub; do
  case $state:$sub in
    failed:* | *:auto-restart*) failed=$failed$unit$nl ;;
    active:*)
      file_of "$new" "$unit"
      if [ -n "$file" ] && ! ran "$unit" && ! has "$start$restart" "$unit"; then started=$started$unit$nl; fi
      ;;
  esac
done <"$tmp/after"
tell "the following new units were started:" "$started"
if [ -n "$failed" ]; then
  tell "warning: the following units failed:" "$failed"
  # shellcheck disable=SC2046
  systemctl status --no-pager --full --lines=5 -- $(words "$failed") >&2 || :
  res=4
fi
say_to_log "finished switching ($res)"
exit "$res"
