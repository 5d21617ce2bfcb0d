// Builds the dashboard as one HTML file, and the Content-Security-Policy that allows only its own script and style.

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
const chartStyle = readFileSync("node_modules/uplot/dist/uPlot.min.css", "utf8").trim();
const style = `${chartStyle}\n${readFileSync("style.css", "utf8")}`;
const cspHash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

// A test compares this hash with the sources, to detect an outdated dist/.
const modules = readdirSync("src").sort().map((file) => `src/${file}`);
const sourceHash = createHash("sha256");
for (const file of ["index.html", "style.css", "build.mjs", "package-lock.json", ...modules]) {
  sourceHash.update(readFileSync(file));
}
const origin = `Built from bin/page, sources ${sourceHash.digest("hex")}.`;
const licence = "Charts: uPlot, (c) 2022 Leon Sorokin, MIT licence.";

const page = readFileSync("index.html", "utf8")
  .replace("<!doctype html>", () => `<!doctype html>\n<!-- ${origin} ${licence} -->`)
  .replace("<style></style>", () => `<style>${style}</style>`)
  .replace("<script></script>", () => `<script>${script}</script>`);
const policy = [
  "default-src 'none'",
  `script-src ${cspHash(script)}`,
  `style-src ${cspHash(style)}`,
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
