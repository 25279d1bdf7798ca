#!/bin/bash
# Builds frazil's Debian package:
#
#   dist/deb/build.sh [DIRECTORY]
#
# DIRECTORY (default: build/) gets frazil_VERSION_amd64.deb. The version is the project's, or what
# FRAZIL_DEB_VERSION says. What frazil needs from PyPI goes into a virtual environment of its own
# under /opt/frazil, on Debian's python3 with its site packages: bcc comes from Debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=/usr/bin/python3
output=${1:-build}
version=${FRAZIL_DEB_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)}
wanted=3.11
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$found" != "$wanted" ]; then
    echo "build.sh: $python is Python $found; Debian 12's $wanted is needed to build for it" >&2
    exit 1
fi
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
environment=$root/opt/frazil
site=$environment/lib/python$wanted/site-packages
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)

# The environment: made here, at home in /opt/frazil.
"$python" -m venv --without-pip --system-site-packages "$environment"
sed -i -e '/^command/d' -e 's|^home.*|home = /usr/bin|' -e "s|^executable.*|executable = /usr/bin/python$wanted|" \
    "$environment/pyvenv.cfg"
rm -f "$environment"/bin/[aA]ctivate* "$environment"/bin/python*
rmdir "$environment/include/python$wanted" "$environment/include" 2>/dev/null || true
ln -s "/usr/bin/python$wanted" "$environment/bin/python3"
python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-compile \
    --only-binary=:all: --python-version "$wanted" --implementation cp \
    --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --root-user-action=ignore --target "$site" -r requirements.lock
rm -rf "$site/bin"

# frazil itself: what git has of it.
git ls-files -z -- control dm_tables bpf proto | while IFS= read -r -d '' file; do
    [ -e "$file" ] && install -D -m 644 "$file" "$site/$file"
done
for program in frazil=control.cli frazild=control.daemon frazil-tracer=bpf.tracer; do
    name=${program%%=*}
    cat >"$environment/bin/$name" <<PROGRAM
#!/opt/frazil/bin/python3 -I
import sys

from ${program#*=} import main

sys.exit(main())
PROGRAM
    chmod 755 "$environment/bin/$name"
done
find "$site" -name '*.so' -exec strip --strip-unneeded {} + 2>/dev/null || true
"$python" -m compileall -q -j 0 -s "$root" "$site" --invalidation-mode unchecked-hash

# Where an administrator looks.
install -d "$root/usr/bin" "$root/usr/sbin"
ln -s /opt/frazil/bin/frazil "$root/usr/bin/frazil"
ln -s /opt/frazil/bin/frazild /opt/frazil/bin/frazil-tracer "$root/usr/sbin/"
install -D -m 644 -t "$root/usr/lib/systemd/system" dist/systemd/*.service
install -D -m 755 -t "$root/usr/lib/systemd/system-generators" dist/systemd/frazil-generator
install -D -m 644 -t "$root/usr/lib/udev/rules.d" dist/udev/*.rules
install -D -m 644 -t "$root/usr/lib/sysusers.d" dist/sysusers.d/*.conf
install -D -m 644 -t "$root/usr/lib/tmpfiles.d" dist/tmpfiles.d/*.conf
install -D -m 644 -t "$root/usr/share/frazil" dist/config.toml.example
install -D -m 755 -t "$root/usr/share/frazil/examples" dist/examples/*.sh
install -D -m 644 -t "$root/usr/share/doc/frazil" README.md docs/*.md bpf/*_example.txt
install -D -m 644 -t "$root/usr/share/man/man8" bpf/*.8
gzip -9n "$root"/usr/share/man/man8/*
install -D -m 644 LICENSE "$root/usr/share/doc/frazil/copyright"
printf '\nThe eBPF programs in bpf/ are under this licence:\n\n' >>"$root/usr/share/doc/frazil/copyright"
cat bpf/LICENSE >>"$root/usr/share/doc/frazil/copyright"

install -d "$root/DEBIAN"
install -m 755 -t "$root/DEBIAN" dist/deb/postinst dist/deb/prerm dist/deb/postrm
sed -e "s/@VERSION@/$version/" -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" \
    dist/deb/control.in >"$root/DEBIAN/control"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) \
    >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$output"
package=$output/frazil_${version}_amd64.deb
dpkg-deb --root-owner-group -Zxz -z6 --build "$root" "$package" >/dev/null
echo "$package"
