# shellcheck shell=sh
# look.sh STATE: what a host is, and what of secrets it has. Changes nothing.
echo "uname $(uname -s) $(uname -m)"
cd "$1" 2>/dev/null || exit 0
if [ -L secrets ] || [ -e /run/godwit/secrets/.release ]; then echo release; fi
cd programs 2>/dev/null || exit 0
for program in *; do
	[ ! -x "$program" ] || echo "program $program"
done
