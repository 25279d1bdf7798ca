#!/bin/sh
# Run by mmdebstrap with the new root's path: fetch the kernel's packages from the same
# sources, and leave them beside the root. They are unpacked later, never installed.
set -eu
export APT_CONFIG="${MMDEBSTRAP_APT_CONFIG:?run by mmdebstrap only}"
cd "${LAB_DEBS:?where the kernel packages go}"
image=$(apt-cache depends linux-image-amd64 |
    sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1)
[ -n "$image" ] || { echo "the apt sources have no linux-image-amd64" >&2; exit 1; }
release=${image#linux-image-}
apt-get download -qq "$image" "linux-headers-$release" "linux-headers-${release%-amd64}-common"
echo "$release" >release
