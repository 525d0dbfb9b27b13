// What a browser has of the pages: paints, interactions, news. Told what to look at on its input, it answers with figures.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { Puppet, Yard, launch, png, puppetSettings, shows } = require("../../tests/browser/yard.js");

/** Milliseconds until the largest part of a page is painted, in a window that has seen none before. */
const paint = async (browser, address, place) => {
  const page = await browser.page(address);
  await page.goto(place, { waitUntil: "load" });
  const taken = await page.evaluate(() => new Promise((done) => {
    // Told again for what was painted before anybody asked; the last of those is the largest.
    new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime)).observe({ type: "largest-contentful-paint", buffered: true });
  }));
  await page.context().close();
  return taken;
};

/** Milliseconds from a click on the head of the column of steps to the frame that shows the leaderboard in that order. */
const sorted = (page) => page.evaluate(() => new Promise((done) => {
  const head = () => document.querySelector("#board th:nth-child(7)"), before = head().ariaSort, began = performance.now();
  const look = () => requestAnimationFrame(() => (head() && head().ariaSort !== before ? done(performance.now() - began) : look()));
  head().querySelector("a").click();
  look();
}));

/** Milliseconds from a click on the next state to the frame that shows the runs in that state. */
const filtered = (page) => page.evaluate(() => new Promise((done) => {
  const choices = () => [...document.querySelectorAll(".filter a")], chosen = () => choices().findIndex((choice) => choice.ariaCurrent);
  const before = chosen(), began = performance.now();
  const look = () => requestAnimationFrame(() => (chosen() !== before ? done(performance.now() - began) : look()));
  choices()[(before + 1) % choices().length].click();
  look();
}));

/** Milliseconds between the frames while a gallery scrolls by at a hand's pace, and how many images came by. */
const scrolled = async (browser, address, place) => {
  const page = await browser.page(address);
  await page.goto(place);
  await page.locator("[data-gallery]").scrollIntoViewIfNeeded();
  return page.evaluate((seconds) => new Promise((done) => {
    const frames = [], began = performance.now();
    let last = began;
    const next = (now) => {
      frames.push(now - last);
      scrollBy(0, 3 * (now - last));
      last = now;
      if (now - began < seconds * 1000) requestAnimationFrame(next);
      else done({ frames: frames.slice(2), shown: document.querySelectorAll("[data-gallery] img").length });
    };
    requestAnimationFrame(next);
  }), 5);
};

const interactions = async (browser, address, model, rounds) => {
  const page = await browser.page(address);
  await page.goto(`/models/${model}`);
  await page.locator("[data-chart=parallel]").scrollIntoViewIfNeeded();
  await page.waitForSelector("[data-chart=parallel] canvas");
  const found = { "sort the leaderboard": [], "choose with the brush": [], "filter the runs": [] };
  for (let round = 0; round < rounds; round++) {
    found["sort the leaderboard"].push(await sorted(page));
    found["choose with the brush"].push(await page.evaluate((round) => new Promise((done) => {
      const { chart } = document.querySelector("[data-chart=parallel]"), told = document.querySelector("#brushed").textContent;
      const began = performance.now();
      const look = () => (document.querySelector("#brushed").textContent === told ? requestAnimationFrame(look) : requestAnimationFrame(() => done(performance.now() - began)));
      chart.dispatchAction({ type: "axisAreaSelect", parallelAxisIndex: 3, intervals: [[0.3 + round / 50, 0.6 + round / 50]] });
      look();
    }), round));
  }
  const runs = await browser.page(address);
  await runs.goto(`/models/${model}/runs`);
  for (let round = 0; round < rounds; round++) found["filter the runs"].push(await filtered(runs));
  return found;
};

/** Milliseconds from a point's being printed to its being on the run's page. */
const news = async (browser, rounds) => {
  const yard = new Yard(), puppet = new Puppet(yard.folder);
  fs.writeFileSync(path.join(yard.folder, "config.toml"), puppetSettings(puppet));
  await yard.start();
  try {
    await yard.call("POST", "/api/v1/models", { name: "m" });
    const body = new FormData();
    body.append("label", "a");
    body.append("file", new Blob([png(3, 1)]), "1.png");
    await fetch(`${yard.address}/api/v1/models/m/images`, { method: "POST", body });
    const { id } = await yard.call("POST", "/api/v1/sweeps", { model: "m" });
    const { data } = await yard.call("GET", `/api/v1/runs?sweep=${id}`);
    const page = await browser.page(yard.address);
    await page.goto(`/runs/${data[0].id}`);
    await shows(page, "#log", "begun");
    const taken = [];
    for (let step = 1; step <= rounds * 4; step++) {
      const shown = page.evaluate((step) => new Promise((done) => {
        const look = () => (document.querySelector("[data-latest]").textContent.startsWith(`step ${step}:`) ? done(performance.timeOrigin + performance.now()) : requestAnimationFrame(look));
        look();
      }), step);
      const began = performance.timeOrigin + performance.now();
      await puppet.say(`{"step": ${step}, "loss": ${1 / step}}`);
      taken.push((await shown) - began);
    }
    await puppet.end();
    return taken;
  } finally { await yard.close(); }
};

const main = async () => {
  const address = process.argv[2], { places, model, gallery, rounds } = JSON.parse(fs.readFileSync(0, "utf8"));
  const browser = await launch();
  try {
    const paints = {};
    for (const [name, place] of Object.entries(places)) {
      paints[name] = [];
      for (let round = 0; round < rounds; round++) paints[name].push(await paint(browser, address, place));
    }
    const looks = { interactions: await interactions(browser, address, model, rounds), ...(await scrolled(browser, address, gallery)) };
    console.log(JSON.stringify({ paints, ...looks, news: await news(browser, rounds) }));
  } finally { await browser.close(); }
};
main().catch((error) => { console.error(error); process.exit(1); });
