// What scripts/screenshots runs; see there.
"use strict";
const fs = require("fs");
const path = require("path");
const { spawn } = require("child_process");
const root = path.resolve(__dirname, "..");
const { chromium } = require(path.join(root, "target/browser/node_modules/playwright-core"));
const axe = fs.readFileSync(path.join(root, "target/browser/node_modules/axe-core/axe.min.js"), "utf8");

const { FLAGS, png } = require("../tests/browser/yard.js");
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

const LONG = "a-model-whose-name-is-rather-long-and-has-no-place-to-break-on-a-narrow-screen";

/** What is hard to show: a long name, forty classes, a run that fails. */
const hard = async (address) => {
  const post = async (place, body, type) => {
    const answer = await fetch(address + place, { method: "POST", body, headers: type ? { "content-type": type } : {} });
    if (!answer.ok && answer.status !== 409) throw new Error(`${place}: ${answer.status} ${await answer.text()}`);
  };
  const description = "Forty kinds of grey, to see how a page looks that has to show many classes under a name that is too long.";
  await post("/api/v1/models", JSON.stringify({ name: LONG, description }), "application/json");
  await post(`/api/v1/models/${LONG}/datasets`, JSON.stringify({ name: "one-class" }), "application/json");
  for (let label = 0; label < 40; label++) {
    const body = new FormData();
    body.append("label", `kind ${String(label).padStart(2, "0")} of grey`);
    body.append("file", new Blob([png(label * 5, label)]), `${label}.png`);
    await post(`/api/v1/models/${LONG}/images`, body);
  }
  const body = new FormData();
  body.append("label", "lonely");
  body.append("file", new Blob([png(9, 1)]), "lonely.png");
  await post(`/api/v1/models/${LONG}/datasets/one-class/images`, body);
  // One class alone cannot be told from another, so this run fails, with a reason.
  const form = new URLSearchParams({ learning_rate: "0.01", layers: "2", steps: "20", dataset: "one-class" });
  const sent = await fetch(`${address}/models/${LONG}/experiment`, { method: "POST", body: form, headers: { origin: address }, redirect: "manual" });
  const run = sent.headers.get("location");
  const events = await fetch(`${address}/api/v1/events?run=${run.split("/").at(-1)}`);
  let told = "";
  for await (const piece of events.body) {
    told += Buffer.from(piece).toString();
    if (/"state":"(failed|succeeded)"/.test(told)) break;
  }
  return run;
};

const main = async () => {
  const server = process.argv[2] ? { address: process.argv[2].replace(/\/$/, ""), end: () => {} } : await demo();
  const { address } = server;
  const get = async (place) => (await fetch(address + place)).json();
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  const problems = [];
  try {
    const plain = await browser.newPage();
    await plain.goto(address);
    const model = await plain.getAttribute(`.model h2 a:not([href$='${LONG}'])`, "href", { timeout: 5000 }).catch(() => null);
    const pages = [["models", "/"], ["queue", "/queue"], ["settings", "/settings"], ["docs", "/docs"], ["call", "/docs#create_sweep"], ["sign-in", "/sign-in"], ["not-found", "/models/nothing"], ["audit", "/settings/audit"], ["data", "/settings/data"]];
    const failed = await hard(address);
    pages.push(["failed-run", failed], ["long-model", `/models/${LONG}`], ["long-settings", `/models/${LONG}/settings`], ["long-dataset", `/models/${LONG}/datasets/_all`], ["long-runs", `/models/${LONG}/runs`]);
    if (model) {
      const points = await get(`${model}/points.json`);
      await plain.goto(address + model);
      const dataset = await plain.getAttribute("a[href*='/datasets/']:not([href*='_all'])", "href").catch(() => null);
      pages.push(["model", model], ["experiments", `${model}/experiments`], ["runs", `${model}/runs`], ["sweeps", `${model}/sweeps`], ["model-settings", `${model}/settings`]);
      const { data: [sweep] } = await get(`/api/v1/sweeps?model=${model.split("/").at(-1)}`);
      if (sweep) pages.push(["sweep", `/sweeps/${sweep.id}`]);
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
