#!/bin/bash
# What `vagrant up` ends with: frazil installed on both machines, from the package, by the words
# of README.md, and mirroring a volume. Once installed, nothing happens any more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec vagrant/setup.sh python -m vagrant.vms install
