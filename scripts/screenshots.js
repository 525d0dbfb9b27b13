// What scripts/screenshots runs; see there.
"use strict";
const fs = require("fs");
const path = require("path");
const { spawn } = require("child_process");
const root = path.resolve(__dirname, "..");
const { chromium } = require(path.join(root, "target/browser/node_modules/playwright-core"));
const axe = fs.readFileSync(path.join(root, "target/browser/node_modules/axe-core/axe.min.js"), "utf8");

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const WIDTHS = [1440, 375];
const SCHEMES = ["light", "dark"];

/** The demo, until it says that it stays. */
const demo = () => new Promise((done, failed) => {
  const child = spawn(path.join(root, "target/release/trainyard"), ["demo", "--keep"], { stdio: ["ignore", "pipe", "inherit"] });
  let told = "";
  child.stdout.on("data", (piece) => {
    told += piece;
    const stays = told.match(/The server stays at (\S+)/);
    if (stays) done({ address: stays[1], end: () => child.kill("SIGINT") });
  });
  child.on("exit", (code) => failed(new Error(`the demo ended with ${code}:\n${told}`)));
});

const main = async () => {
  const server = process.argv[2] ? { address: process.argv[2].replace(/\/$/, ""), end: () => {} } : await demo();
  const { address } = server;
  const get = async (place) => (await fetch(address + place)).json();
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  const problems = [];
  try {
    const plain = await browser.newPage();
    await plain.goto(address);
    const model = await plain.getAttribute(".model h2 a", "href").catch(() => null);
    const pages = [["models", "/"], ["queue", "/queue"], ["settings", "/settings"], ["sign-in", "/sign-in"], ["not-found", "/models/nothing"]];
    if (model) {
      const points = await get(`${model}/points.json`);
      await plain.goto(address + model);
      const dataset = await plain.getAttribute("a[href*='/datasets/']:not([href*='_all'])", "href").catch(() => null);
      pages.push(["model", model]);
      if (dataset) pages.push(["dataset", dataset], ["class", `${dataset}?label=3`]);
      if (points.length) pages.push(["run", `/runs/${points[0][4]}`], ["compare", `/compare?runs=${points.slice(0, 3).map((point) => point[4]).join(",")}`]);
    }
    await plain.close();
    for (const colorScheme of SCHEMES) for (const width of WIDTHS) {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 }, reducedMotion: "reduce", bypassCSP: false });
      for (const [name, place] of pages) {
        const page = await context.newPage();
        if (process.env.ASSETS) await page.route("**/assets/*", (route) => {
          const file = path.join(process.env.ASSETS, new URL(route.request().url()).pathname.replace(/^\/assets\/\w+-/, "").replace("echarts.js", "echarts.min.js").replace("htmx.js", "htmx.min.js"));
          return route.fulfill({ path: file });
        });
        const where = `${name} (${width}, ${colorScheme})`;
        page.on("console", (line) => {
          if (line.type() !== "error" || (name === "not-found" && line.text().includes("404"))) return;
          if (/\/api\/v1\/events/.test(line.location().url)) return;
          problems.push(`${where}: console: ${line.text()}`);
        });
        page.on("pageerror", (error) => problems.push(`${where}: ${error.message}`));
        page.on("request", (request) => { if (!request.url().startsWith(address) && !/^(data|blob):/.test(request.url())) problems.push(`${where}: asks ${request.url()}`); });
        await page.goto(address + place, { waitUntil: "load" });
        // Charts and images below the fold come when they are looked at.
        await page.evaluate(async () => { for (let y = 0; y < document.body.scrollHeight; y += 600) { scrollTo(0, y); await new Promise((done) => setTimeout(done, 60)); } scrollTo(0, 0); });
        await page.waitForTimeout(500);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wide > 0) problems.push(`${where}: scrolls sideways by ${wide} px`);
        await page.screenshot({ path: path.join(root, "target/screenshots", `${name}-${width}-${colorScheme}.png`), fullPage: true });
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        for (const { id, nodes } of violations) problems.push(`${where}: ${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any?.[0]?.message ?? ""}`).join(" | ")}`);
        await page.close();
      }
      await context.close();
    }
    console.log(`${pages.length * WIDTHS.length * SCHEMES.length} pictures in target/screenshots, ${problems.length} problems`);
  } finally {
    await browser.close();
    server.end();
  }
  for (const problem of [...new Set(problems)]) console.error(problem);
  process.exitCode = problems.length ? 1 : 0;
};
main().catch((error) => { console.error(error); process.exit(1); });
