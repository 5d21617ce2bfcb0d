// Makes one page of everything, and the policy that lets a browser run just that.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: ["src/main.js"],
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  legalComments: "none",
  write: false,
});
const script = outputFiles[0].text.trim();
const style = readFileSync("node_modules/uplot/dist/uPlot.min.css", "utf8").trim() + "\n" + readFileSync("style.css", "utf8");
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

// So that a test can tell whether the page is made of these sources.
const sources = ["index.html", "style.css", "build.mjs", "package-lock.json", ...readdirSync("src").sort().map((file) => `src/${file}`)];
const made = createHash("sha256");
for (const file of sources) made.update(readFileSync(file));

const page = readFileSync("index.html", "utf8")
  .replace("<!doctype html>", () => `<!doctype html>\n<!-- Made of bin/page, sources ${made.digest("hex")}. Charts: uPlot, (c) 2022 Leon Sorokin, MIT licence. -->`)
  .replace("<style></style>", () => `<style>${style}</style>`)
  .replace("<script></script>", () => `<script>${script}</script>`);
const policy = [
  "default-src 'none'",
  `script-src ${hash(script)}`,
  `style-src ${hash(style)}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");
mkdirSync("dist", { recursive: true });
writeFileSync("dist/index.html", page);
writeFileSync("dist/policy", policy);
console.log(`dist/index.html: ${page.length} bytes`);
