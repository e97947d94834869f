#!/bin/sh
# Makes docs/_static/vendor/codemirror.js and its licences from the versions in package-lock.json: sh docs/_vendor/build.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../_static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$here/editor.js" "$work"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --silent
node_modules/.bin/esbuild editor.js --bundle --minify --format=esm --target=es2022 --legal-comments=none --log-level=warning \
    --banner:js="// CodeMirror 6, of docs/_vendor/package-lock.json. Licences: codemirror.LICENSE.txt" \
    --metafile=made.json --outfile="$out/codemirror.js"
node -e '
const packages = new Set(Object.keys(require("./made.json").inputs)
    .map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean));
const { readFileSync } = require("fs");
for (const name of [...packages].sort()) {
    const { version, license } = require(`./node_modules/${name}/package.json`);
    console.log(`${name} ${version}, ${license}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8")}\n`);
}' >"$out/codemirror.LICENSE.txt"
