// npm ci && npm run build: bundles src/ and three.js into ../argus_nb/static/, which the package ships and loads offline.
// viewer.js begins with a digest of what it was built from; tests/test_viewer.py computes it again.
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

process.chdir(import.meta.dirname ?? new URL('.', import.meta.url).pathname);
const target = '../argus_nb/static';
mkdirSync(target, { recursive: true });

const digest = createHash('sha256');
for (const name of ['build.mjs', 'package.json', 'package-lock.json', ...readdirSync('src').sort().map(file => `src/${file}`)]) digest.update(readFileSync(name));

const three = JSON.parse(readFileSync('node_modules/three/package.json')).version;
await build({
  entryPoints: ['src/viewer.js'], outfile: `${target}/viewer.js`, bundle: true, minify: true, format: 'esm', target: 'es2022', charset: 'utf8', legalComments: 'none',
  banner: { js: `// argus_nb viewer, with three.js ${three} (MIT, see LICENCE beside this file); built from ${digest.digest('hex')}` },
});
copyFileSync('src/viewer.css', `${target}/viewer.css`);
writeFileSync(`${target}/LICENCE`, `viewer.js contains three.js ${three}, under the following licence.\n\n${readFileSync('node_modules/three/LICENSE')}`);
