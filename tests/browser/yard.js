// A server of a test's own, a browser that looks at it, and what both need. Knows nothing of what is tested.
//
// TRAINYARD_BIN names another executable than target/release/trainyard, CHROMIUM another browser.
"use strict";
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const zlib = require("node:zlib");
const { once } = require("node:events");
const { spawn } = require("node:child_process");
const root = path.resolve(__dirname, "../..");
const { chromium } = require(path.join(root, "target/browser/node_modules/playwright-core"));

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PATIENCE_MS = 60_000;

/** A folder that is gone afterwards, with a server that keeps its data there. */
class Yard {
  constructor(settings = "") {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "trainyard-browser-"));
    fs.writeFileSync(path.join(this.folder, "config.toml"), settings);
    this.port = 0;
  }

  /** Starts the server, on the port that it had before, and returns when it listens. */
  async start() {
    const binary = process.env.TRAINYARD_BIN ?? path.join(root, "target/release/trainyard");
    const log = fs.openSync(path.join(this.folder, "log"), "a");
    const given = ["serve", "--config", path.join(this.folder, "config.toml"), "--data-dir", path.join(this.folder, "data"), "--listen", `127.0.0.1:${this.port}`];
    this.server = spawn(binary, given, { stdio: ["ignore", "pipe", log] });
    fs.closeSync(log);
    let told = "";
    for await (const piece of this.server.stdout) {
      told += piece;
      const found = told.match(/listening on (http:\/\/127\.0\.0\.1:(\d+))/);
      if (!found) continue;
      this.address = found[1];
      this.port = Number(found[2]);
      return this;
    }
    throw new Error(`the server did not start:\n${fs.readFileSync(path.join(this.folder, "log"), "utf8")}`);
  }

  async end(signal) {
    if (this.server.exitCode !== null || this.server.signalCode !== null) return;
    const over = once(this.server, "exit");
    this.server.kill(signal);
    await over;
  }

  /** As a crash ends it. */
  async kill() { await this.end("SIGKILL"); }

  async close() {
    await this.end("SIGTERM");
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  /** A call to the API: the body's JSON. */
  async call(method, place, body) {
    const headers = body ? { "content-type": "application/json" } : {};
    const answer = await fetch(this.address + place, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${place}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** A file in the folder. */
  write(name, bytes) {
    const place = path.join(this.folder, name);
    fs.mkdirSync(path.dirname(place), { recursive: true });
    fs.writeFileSync(place, bytes);
    return place;
  }
}

/** A trainer that prints what it is given through a pipe, line by line, and nothing before. */
class Puppet {
  constructor(folder) {
    this.pipe = path.join(folder, "pipe");
    this.script = path.join(folder, "train.sh");
    require("node:child_process").execFileSync("mkfifo", [this.pipe]);
    fs.writeFileSync(this.script, `#!/bin/sh\necho begun\nexec cat '${this.pipe}'\n`);
    fs.chmodSync(this.script, 0o755);
  }

  /** Opened by the first word to a run, closed by the last one. */
  async say(line) {
    this.file ??= await fs.promises.open(this.pipe, "w");
    await this.file.write(`${line}\n`);
  }

  async end() {
    await this.file?.close();
    this.file = undefined;
  }
}

/** What settings name a puppet as trainer and run one thing at a time. */
const puppetSettings = (puppet) => `[trainer]\ntrain = ["${puppet.script}"]\n[jobs]\nconcurrency = 1\n[sweep]\nlearning_rates = [0.1]\nlayers = [1, 2]\nsteps = [10]\n`;

const CRCS = Array.from({ length: 256 }, (_, at) => { let crc = at; for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1; return crc >>> 0; });
const chunk = (kind, body) => {
  const named = Buffer.concat([Buffer.from(kind), body]), framed = Buffer.alloc(named.length + 8);
  framed.writeUInt32BE(body.length);
  named.copy(framed, 4);
  framed.writeUInt32BE((~named.reduce((crc, byte) => CRCS[(crc ^ byte) & 255] ^ (crc >>> 8), 0xffffffff)) >>> 0, named.length + 4);
  return framed;
};

/** A grey image of 16 by 16; `shade` is how bright it is, and each seed makes another one. */
const png = (shade, seed) => {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(16, 0);
  head.writeUInt32BE(16, 4);
  head.set([8, 0, 0, 0, 0], 8);
  const rows = Buffer.concat(Array.from({ length: 16 }, (_, y) => Buffer.from([0, ...Array.from({ length: 16 }, (_, x) => Math.min(255, shade + ((x * 7 + y * 13 + seed * 31) % 40)))])));
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), chunk("IHDR", head), chunk("IDAT", zlib.deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
};

/** A browser for the length of a test. What a page complains of is collected. */
const launch = async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  const complaints = [];
  return {
    complaints,
    close: () => browser.close(),
    /** A page in a window of its own. */
    page: async (address, options = {}) => {
      const context = await browser.newContext({ baseURL: address, viewport: { width: 1280, height: 900 }, ...options });
      context.setDefaultTimeout(PATIENCE_MS);
      const page = await context.newPage();
      watch(page, complaints);
      return page;
    },
  };
};

/** Errors on a page, but for a server that is away, of which the browser and htmx complain. */
const watch = (page, complaints) => {
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
  page.on("console", (line) => { if (line.type() === "error" && !/net::ERR_|htmx:error: Failed to fetch/.test(line.text())) complaints.push(`${page.url()}: ${line.text()}`); });
};

/** Marks a page, so that a reload can be told. */
const mark = (page) => page.evaluate(() => { window.unbroken = true; });
const isUnbroken = (page) => page.evaluate(() => window.unbroken === true);

/** Waits until a part of the page has these words, without looking away. */
const shows = (page, selector, words) =>
  page.waitForFunction(([selector, words]) => [...document.querySelectorAll(selector)].some((part) => part.textContent.includes(words)), [selector, words]);

/** By how much a page scrolls sideways, and what somebody presses on it that is too small or lies under something else. */
const misplaced = (page) => page.evaluate(() => {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const open = document.querySelector("dialog[open]");
  const pressed = [...(open ?? document).querySelectorAll(open ? "button, a" : "main button, main input:not([type=hidden]), main select, nav a")];
  const buttons = pressed.filter((part) => part.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !part.closest(".scroll, details:not([open])") && part.closest("dialog") === open);
  const covered = buttons.filter((part) => {
    part.scrollIntoView({ block: "center" });
    const { left, top, width, height } = part.getBoundingClientRect();
    const there = document.elementFromPoint(left + width / 2, top + height / 2);
    return height < 20 || !(part.contains(there) || there?.contains(part));
  });
  scrollTo(0, 0);
  return { wide, covered: covered.map((part) => part.outerHTML.slice(0, 120)) };
});

module.exports = { FLAGS, Puppet, Yard, isUnbroken, launch, mark, misplaced, png, puppetSettings, root, shows, watch };
