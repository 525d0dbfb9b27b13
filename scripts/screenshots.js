// What scripts/screenshots runs; see there.
"use strict";
const fs = require("fs");
const path = require("path");
const { spawn } = require("child_process");
const root = path.resolve(__dirname, "..");
const { chromium } = require(path.join(root, "target/browser/node_modules/playwright-core"));
const axe = fs.readFileSync(path.join(root, "target/browser/node_modules/axe-core/axe.min.js"), "utf8");

const { FLAGS, Yard, misplaced, png } = require("../tests/browser/yard.js");
const { LONG, changed, hard } = require("../tests/browser/stage.js");
const WIDTHS = [1440, 375];
const SCHEMES = ["light", "dark"];

/** Small pictures of some pages, for README. */
const SMALL = path.join(root, "scripts/pictures");
const FOR_README = { model: 1110, run: 1110, dataset: 1110 };

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

/** What has to be done on a page before its picture is taken. */
const asked = async (page) => {
  await page.setInputFiles("#predict input[type=file]", { name: "what.png", mimeType: "image/png", buffer: png(90, 5) });
  await page.click("#predict button");
  await page.waitForSelector("#prediction .figure");
};
const opened = async (page) => {
  await page.click("[data-gallery] a");
  await page.waitForSelector("#viewer[open]");
};
const ticked = async (page) => { await page.click("[data-all]"); };

/** Every page: its name, its address, and what is done on it first. */
const pagesOf = async (browser, address, empty) => {
  const get = async (place) => (await fetch(address + place)).json();
  const plain = await browser.newPage();
  await plain.goto(address);
  const model = await plain.getAttribute(`.model h2 a:not([href$='${LONG}'])`, "href", { timeout: 5000 }).catch(() => null);
  const pages = [["empty", `${empty}/`], ["empty-queue", `${empty}/queue`], ["models", "/"], ["queue", "/queue"], ["settings", "/settings"], ["docs", "/docs"], ["call", "/docs#create_sweep"], ["sign-in", "/sign-in"], ["not-found", "/models/nothing"], ["audit", "/settings/audit"], ["data", "/settings/data"]];
  const failed = await hard(address);
  pages.push(["failed-run", failed], ["long-model", `/models/${LONG}`], ["long-settings", `/models/${LONG}/settings`], ["long-dataset", `/models/${LONG}/datasets/_all`], ["long-runs", `/models/${LONG}/runs`]);
  if (model) {
    const points = await get(`${model}/points.json`);
    await plain.goto(address + model);
    const dataset = await plain.getAttribute("a[href*='/datasets/']:not([href*='_all']):not([href$=changed])", "href").catch(() => null);
    const other = await changed(address, model.split("/").at(-1));
    const { version } = await get(`/api/v1${other}`);
    pages.push(["model", model], ["experiments", `${model}/experiments`], ["runs", `${model}/runs`], ["sweeps", `${model}/sweeps`], ["model-settings", `${model}/settings`]);
    pages.push(["changed", other, ticked], ["versions", `${other}/versions?from=0&to=${version}`], ["duplicates", `${other}/duplicates`]);
    const { data: [sweep] } = await get(`/api/v1/sweeps?model=${model.split("/").at(-1)}`);
    if (sweep) pages.push(["sweep", `/sweeps/${sweep.id}`]);
    if (dataset) pages.push(["dataset", dataset], ["class", `${dataset}?label=3`], ["viewer", `${dataset}?label=3`, opened]);
    if (points.length) pages.push(["run", `/runs/${points[0][4]}`], ["compare", `/compare?runs=${points.slice(0, 3).map((point) => point[4]).join(",")}`], ["prediction", model, asked]);
  }
  await plain.close();
  return pages.map(([name, place, prepare]) => [name, place.startsWith("/") ? address + place : place, prepare]);
};

/** Opens a page, takes its picture, and tells what is wrong with it. */
const look = async (context, [name, place, prepare], width, scheme) => {
  const page = await context.newPage(), problems = [], where = `${name} (${width}, ${scheme})`;
  if (process.env.ASSETS) await page.route("**/assets/*", (route) => {
    const file = path.join(process.env.ASSETS, new URL(route.request().url()).pathname.replace(/^\/assets\/\w+-/, "").replace("echarts.js", "echarts.min.js").replace("htmx.js", "htmx.min.js"));
    return route.fulfill({ path: file });
  });
  page.on("console", (line) => {
    if (line.type() !== "error" || (name === "not-found" && line.text().includes("404"))) return;
    if (/\/api\/v1\/events/.test(line.location().url)) return;
    problems.push(`${where}: console: ${line.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`${where}: ${error.message}`));
  const own = new URL(place).origin;
  page.on("request", (request) => { if (!request.url().startsWith(own) && !/^(data|blob):/.test(request.url())) problems.push(`${where}: asks ${request.url()}`); });
  await page.goto(place, { waitUntil: "load" });
  // Charts and images below the fold come when they are looked at. A gallery has no end, so only the first screens are.
  await page.evaluate(async () => { for (let y = 0; y < Math.min(document.body.scrollHeight, 6000); y += 600) { scrollTo(0, y); await new Promise((done) => setTimeout(done, 60)); } scrollTo(0, 0); });
  await prepare?.(page);
  await page.waitForTimeout(500);
  const { wide, covered } = await misplaced(page);
  if (wide > 0) problems.push(`${where}: scrolls sideways by ${wide} px`);
  for (const part of covered) problems.push(`${where}: covered or too small: ${part}`);
  const height = await page.evaluate(() => Math.min(document.documentElement.scrollHeight, 12_000));
  await page.screenshot({ path: path.join(root, "target/screenshots", `${name}-${width}-${scheme}.png`), fullPage: true, clip: { x: 0, y: 0, width, height } });
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, nodes } of violations) problems.push(`${where}: ${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any?.[0]?.message ?? ""}`).join(" | ")}`);
  await page.close();
  return problems;
};

const forReadme = async (browser, pages) => {
  fs.mkdirSync(SMALL, { recursive: true });
  const context = await browser.newContext({ colorScheme: "light", viewport: { width: 1200, height: 800 }, deviceScaleFactor: 0.6, reducedMotion: "reduce" });
  for (const [name, place] of pages.filter(([name]) => name in FOR_README)) {
    const page = await context.newPage();
    await page.goto(place, { waitUntil: "load" });
    await page.evaluate(async () => { for (let y = 0; y < 3000; y += 600) { scrollTo(0, y); await new Promise((done) => setTimeout(done, 100)); } scrollTo(0, 0); });
    await page.waitForTimeout(700);
    await page.screenshot({ path: path.join(SMALL, `${name}.png`), fullPage: true, clip: { x: 0, y: 0, width: 1200, height: FOR_README[name] } });
    await page.close();
  }
  await context.close();
};

const main = async () => {
  const given = process.argv.slice(2), wantsSmall = given[0] === "--readme";
  const named = given.find((word) => !word.startsWith("--"));
  const server = named ? { address: named.replace(/\/$/, ""), end: () => {} } : await demo();
  const empty = await new Yard().start();
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  const problems = [];
  try {
    const pages = await pagesOf(browser, server.address, empty.address);
    if (wantsSmall) return await forReadme(browser, pages);
    for (const colorScheme of SCHEMES) for (const width of WIDTHS) {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 }, reducedMotion: "reduce", bypassCSP: false });
      for (const page of pages) problems.push(...(await look(context, page, width, colorScheme)));
      await context.close();
    }
    console.log(`${pages.length * WIDTHS.length * SCHEMES.length} pictures in target/screenshots, ${problems.length} problems`);
  } finally {
    await browser.close();
    await empty.close();
    server.end();
  }
  for (const problem of [...new Set(problems)]) console.error(problem);
  process.exitCode = problems.length ? 1 : 0;
};
main().catch((error) => { console.error(error); process.exit(1); });
