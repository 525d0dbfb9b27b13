// What happens on the server is on every page that somebody looks at: in two windows, and after the server was away.
"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Puppet, Yard, isUnbroken, launch, mark, png, puppetSettings, shows } = require("./yard.js");
const fs = require("node:fs");
const path = require("node:path");

/** A server whose trainer says what the test wants, with a model that has an image. */
const puppetYard = async () => {
  const yard = new Yard(), puppet = new Puppet(yard.folder);
  fs.writeFileSync(path.join(yard.folder, "config.toml"), puppetSettings(puppet));
  await yard.start();
  await yard.call("POST", "/api/v1/models", { name: "m" });
  const body = new FormData();
  body.append("label", "a");
  body.append("file", new Blob([png(3, 1)]), "1.png");
  const sent = await fetch(`${yard.address}/api/v1/models/m/images`, { method: "POST", body });
  assert.ok(sent.ok, await sent.text());
  return { yard, puppet };
};

test("two windows follow a sweep: grid, leaderboard, log and curve, without a reload", async () => {
  const { yard, puppet } = await puppetYard(), browser = await launch();
  try {
    const [model, queue] = [await browser.page(yard.address), await browser.page(yard.address)];
    await model.goto("/models/m");
    await queue.goto("/queue");
    await mark(queue);
    await Promise.all([model.waitForNavigation(), model.click("text=Run the sweep")]);
    await mark(model);
    await model.waitForSelector("#sweep .cell.running");
    await model.waitForSelector("#sweep .cell.queued");
    await shows(queue, "[aria-labelledby=running] td", "default_1");
    await shows(queue, "[aria-labelledby=waiting] td", "default_2");

    // The run's own page, before it has printed a thing.
    const run = await browser.page(yard.address);
    await run.goto(await model.getAttribute("#sweep .cell.running", "href"));
    await mark(run);
    await shows(run, "#log", "begun");
    await puppet.say('{"step": 1, "loss": 0.75}');
    await shows(run, "#log", '"loss": 0.75');
    await shows(run, "[data-latest]", "step 1: loss 0.75");
    await run.waitForSelector("[data-chart=own] canvas");
    await shows(model, "#sweep .cell.running", "at 1");

    // Somebody searches in the log while it grows.
    await run.fill("[data-search=log]", "LOSS");
    await puppet.say('{"step": 2, "loss": 0.5}');
    await run.waitForFunction(() => document.querySelectorAll("#log mark").length === 2);
    await run.locator("[data-search=log]").blur();
    await puppet.say("\u001b[31mred\u001b[0m <b>bold</b>");
    await shows(run, "#log", "<b>bold</b>");
    assert.ok(!(await run.textContent("#log")).includes("\u001b"), "control characters are written out");

    await puppet.say("accuracy=0.625");
    await puppet.end();
    await shows(run, ".state.succeeded", "succeeded");
    await shows(run, ".figure", "62.50 %");
    await shows(model, "#sweep .cell.succeeded", "62.5");
    await shows(model, "#board tbody tr", "62.50 %");
    await shows(queue, "[aria-labelledby=running] td", "default_2");

    // What fails is told with its reason, and can be tried again from the page.
    await puppet.say("no luck");
    await puppet.end();
    await model.waitForSelector("#sweep .cell.failed");
    await shows(queue, "[aria-labelledby=running]", "Nothing runs.");
    for (const page of [model, queue, run]) assert.ok(await isUnbroken(page), page.url());
    await Promise.all([model.waitForNavigation(), model.click("text=Retry what failed")]);
    await model.waitForSelector("#sweep .cell.running");
    await puppet.say("accuracy=0.875");
    await puppet.end();
    await shows(model, ".best .figure", "87.50 %");
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});

test("a page goes on by itself after the server was away", async () => {
  const { yard, puppet } = await puppetYard(), browser = await launch();
  try {
    const [model, run] = [await browser.page(yard.address), await browser.page(yard.address)];
    await model.goto("/models/m");
    await Promise.all([model.waitForNavigation(), model.click("text=Run the sweep")]);
    await model.waitForSelector("#sweep .cell.running");
    await run.goto(await model.getAttribute("#sweep .cell.running", "href"));
    await puppet.say('{"step": 1, "loss": 0.75}');
    await shows(run, "#log", "0.75");
    for (const page of [model, run]) await mark(page);

    await yard.kill();
    await puppet.end();
    for (const page of [model, run]) await page.waitForSelector("#away:not([hidden])");
    await yard.start();
    for (const page of [model, run]) await page.waitForSelector("#away", { state: "hidden" });

    // The run is started again, and says other things than before.
    await puppet.say("a second time");
    await shows(run, "#log", "a second time");
    assert.ok(!(await run.textContent("#log")).includes("0.75"), "the first attempt's log has gone");
    await puppet.say("accuracy=0.5");
    await puppet.end();
    await shows(run, ".state.succeeded", "succeeded");
    await shows(model, "#board tbody tr", "50.00 %");
    for (const page of [model, run]) assert.ok(await isUnbroken(page), page.url());
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});
