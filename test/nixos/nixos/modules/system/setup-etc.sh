#!/bin/sh
# setup-etc.sh TOPLEVEL: make /etc show TOPLEVEL/etc. Files that are neither ours nor links into /etc/static are left alone.
set -u
new=$1/etc
copies=$1/etc-copies
state=/etc/.nixos-lab
status=0
mkdir -p "$state"
touch "$state/links" "$state/copies"

ln -sfn "$new" /etc/static.new && mv -T /etc/static.new /etc/static || exit 1

# Every entry of etc that is not a plain directory, relative to it. Links that are right already are left out, all at
# once: a process for each takes seconds where the processor is emulated.
find -L "$copies" -type f -printf '%f\n' 2>/dev/null | tr % / >"$state/copied"
find /etc -xdev -type l -lname '/etc/static/*' -printf '%P /etc/static/%P %l\n' |
  awk 'NF == 3 && $2 == $3 { print $1 }' | grep -vxFf "$state/copied" >"$state/right"
(cd "$new" && find . ! -type d -printf '%P\n') | LC_ALL=C sort >"$state/all"
grep -xFf "$state/right" "$state/all" >"$state/links.new"
grep -vxFf "$state/right" "$state/all" >"$state/wanted"
: >"$state/copies.new"

make_parent() { # PATH: directories above it, replacing links of ours
  p=${1%/*}
  if [ -L "$p" ] && case $(readlink "$p") in /etc/static/*) true ;; *) false ;; esac; then rm -f "$p"; fi
  [ -d "$p" ] || mkdir -p "$p"
}

while IFS= read -r name; do
  to=/etc/$name
  key=$(printf %s "$name" | tr / %)
  make_parent "$to"
  if [ -f "$copies/$key" ]; then
    read -r mode owner <"$copies/$key"
    if [ -e "$to" ] && ! [ -L "$to" ] && ! grep -qxF "$name" "$state/copies"; then
      echo "warning: /etc/$name is not ours, leaving it" >&2
      continue
    fi
    printf '%s\n' "$name" >>"$state/copies.new"
    if [ -L "$to" ] || ! cmp -s "$new/$name" "$to" 2>/dev/null; then
      cp -f --remove-destination "$new/$name" "$to.nixos-new" && chown "$owner" "$to.nixos-new" &&
        chmod "$mode" "$to.nixos-new" && mv -f "$to.nixos-new" "$to" || status=1
    else
      chown "$owner" "$to" && chmod "$mode" "$to" || status=1
    fi
    continue
  fi
  want=/etc/static/$name
  if [ -L "$to" ]; then
    have=$(readlink "$to")
    if [ "$have" != "$want" ]; then
      case $have in
        /etc/static/* | /nix/store/*) ;;
        *) echo "warning: /etc/$name is a link of somebody else's, leaving it" >&2; continue ;;
      esac
      ln -sfn "$want" "$to.nixos-new" && mv -T "$to.nixos-new" "$to" || status=1
    fi
  elif [ -e "$to" ] && ! grep -qxF "$name" "$state/copies"; then
    echo "warning: /etc/$name is not ours, leaving it" >&2
    continue
  else
    rm -f "$to"
    ln -s "$want" "$to" || status=1
  fi
  printf '%s\n' "$name" >>"$state/links.new"
done <"$state/wanted"

# What the last generation had and this one has not.
LC_ALL=C sort -o "$state/links.new" "$state/links.new"
LC_ALL=C sort "$state/links" | LC_ALL=C comm -23 - "$state/links.new" >"$state/gone"
while IFS= read -r name; do
  [ "$(readlink "/etc/$name" 2>/dev/null)" = "/etc/static/$name" ] || continue
  case $name in systemd/*) ;; *) echo "removing obsolete symlink ‘/etc/$name’..." >&2 ;; esac
  rm -f "/etc/$name"
  rmdir -p "$(dirname "/etc/$name")" 2>/dev/null || :
done <"$state/gone"
while IFS= read -r name; do
  grep -qxF "$name" "$state/copies.new" && continue
  [ -L "/etc/$name" ] || rm -f "/etc/$name"
done <"$state/copies"
mv -f "$state/links.new" "$state/links"
mv -f "$state/copies.new" "$state/copies"
rm -f "$state/copied" "$state/right" "$state/all" "$state/wanted" "$state/gone"
[ -e /etc/NIXOS ] || : >/etc/NIXOS
exit $status
