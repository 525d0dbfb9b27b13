// From an empty server to a prediction, by clicking: with the digits that come with the program, and with a model of one's own.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const { Yard, isUnbroken, launch, mark, png, shows } = require("./yard.js");

// The story is what is looked at, not the training.
const SHORT = "[sweep]\nlearning_rates = [0.01, 0.1]\nlayers = [1]\nsteps = [10, 40]\n";

/** A model's page: until all runs of its sweep have a result, without a reload. */
const untilSwept = async (page, runs) => {
  await page.waitForFunction((runs) => document.querySelectorAll("#sweep .cell.succeeded").length === runs, runs);
  await page.waitForFunction((runs) => document.querySelectorAll("#board tbody tr").length === runs, runs);
};

const ask = async (page, file) => {
  await page.setInputFiles("#predict input[type=file]", file);
  await page.click("#predict button");
  await page.waitForSelector("#prediction .figure strong");
  return page.textContent("#prediction .figure strong");
};

test("the digits come in at one click, are trained, and answer", async () => {
  const yard = await new Yard(SHORT).start(), browser = await launch();
  try {
    const page = await browser.page(yard.address);
    await page.goto("/");
    await shows(page, "h1", "Nothing here yet");
    await page.click("text=Show me, with handwritten digits");
    await page.waitForURL("**/models/*");
    await mark(page);
    await untilSwept(page, 4);
    assert.ok(await isUnbroken(page), "results came without a reload");
    assert.match(await page.textContent(".best .figure"), /\d %/);

    // An image of the dataset, saved as a person would, answers the question.
    const dataset = await page.getAttribute("a[href*='/datasets/']:not([href*='_all'])", "href");
    const looked = await browser.page(yard.address);
    await looked.goto(`${dataset}?label=7`);
    const source = await looked.getAttribute("[data-gallery] a", "href");
    const seven = yard.write("seven.png", Buffer.from(await (await fetch(yard.address + source)).arrayBuffer()));
    const label = await ask(page, seven);
    assert.match(label.trim(), /^\d$/);
    assert.ok((await page.locator("#prediction meter").count()) > 1, "probabilities are bars");
    // Several images at once are a table.
    await page.setInputFiles("#predict input[type=file]", [7, 8, 9].map((seed) => ({ name: `${seed}.png`, mimeType: "image/png", buffer: png(60, seed) })));
    assert.equal(await page.locator("#predict .previews img").count(), 3);
    await page.click("#predict button");
    await page.waitForFunction(() => document.querySelectorAll("#prediction .answers tbody tr").length === 3);
    assert.ok(await isUnbroken(page), "the answer came without a reload");

    // The best run, its curve and what it got wrong are a click away.
    await page.click("#board tbody tr:first-child a");
    await page.waitForURL("**/runs/*");
    await shows(page, ".state", "succeeded");
    await page.waitForSelector("#evaluation");
    await page.locator("[data-chart=own]").scrollIntoViewIfNeeded();
    await page.waitForSelector("[data-chart=own] canvas");
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});

test("a model of one's own: a folder a class, a sweep of one's own, an answer, a comparison", async () => {
  const yard = await new Yard(SHORT).start(), browser = await launch();
  try {
    for (const [label, shade] of [["dark", 10], ["light", 190]]) for (let seed = 0; seed < 6; seed++) yard.write(`pictures/${label}/${seed}.png`, png(shade, seed));
    const page = await browser.page(yard.address);
    await page.goto("/");
    await page.fill(".make input[name=name]", "shades");
    await page.click(".make button");
    await page.waitForURL("**/models/shades");
    await page.click("text=add images");
    await page.setInputFiles("input[data-folder]", path.join(yard.folder, "pictures"));
    await page.waitForFunction(() => document.querySelectorAll("[data-gallery] li").length === 12);
    await shows(page, ".facts", "12 with a label");
    // One more, by itself, with a label that is typed in.
    await page.setInputFiles("input[data-many]", yard.write("new.png", png(200, 77)));
    await page.fill("#upload input[name=label]", "light");
    await page.click("#upload form.drop button");
    await shows(page, ".facts", "13 with a label");

    await page.goto("/models/shades");
    await page.fill("input[name=learning_rates]", "0.05, 0.1");
    await page.fill("form[action$='/grid'] input[name=layers]", "1");
    await page.fill("form[action$='/grid'] input[name=steps]", "60");
    await Promise.all([page.waitForNavigation(), page.click("text=Run all of them")]);
    await mark(page);
    await untilSwept(page, 2);
    assert.ok(await isUnbroken(page));
    assert.equal((await ask(page, yard.write("question.png", png(195, 9)))).trim(), "light");

    for (const box of await page.locator("#board input[type=checkbox]").all()) await box.check();
    await page.click("text=Compare what is ticked");
    await page.waitForURL("**/compare?*");
    assert.equal(await page.locator("thead th a").count(), 2);
    await page.waitForSelector("[data-chart=curves] canvas");
    assert.ok(fs.existsSync(yard.folder));
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});

test("a folder of folders and a zip file are dropped by the mouse", async () => {
  const yard = await new Yard().start(), browser = await launch();
  try {
    await yard.call("POST", "/api/v1/models", { name: "m" });
    for (const [place, shade, seed] of [["cat/1.png", 3, 1], ["cat/2.png", 3, 2], ["dog/1.png", 90, 3]]) yard.write(`pictures/${place}`, png(shade, seed));
    const page = await browser.page(yard.address);
    // The server's own export makes the zip file: of another dataset, with a folder for each class.
    await yard.call("POST", "/api/v1/models", { name: "birds" });
    const body = new FormData();
    body.append("label", "bird");
    body.append("file", new Blob([png(150, 4)]), "9.png");
    assert.ok((await fetch(`${yard.address}/api/v1/models/birds/images`, { method: "POST", body })).ok);
    const zip = yard.write("birds.zip", Buffer.from(await (await fetch(`${yard.address}/api/v1/models/birds/export.zip`)).arrayBuffer()));

    await page.goto("/models/m/datasets/_all");
    const mouse = await page.context().newCDPSession(page);
    const drop = async (file) => {
      const { x, y, width } = await page.locator("#upload form.drop").boundingBox();
      for (const type of ["dragEnter", "dragOver", "drop"]) await mouse.send("Input.dispatchDragEvent", { type, x: x + width / 2, y: y + 10, data: { items: [], files: [file], dragOperationsMask: 1 } });
    };
    await drop(path.join(yard.folder, "pictures"));
    await shows(page, ".facts", "3 with a label");
    await shows(page, "main", "dog");
    await drop(zip);
    await shows(page, ".facts", "4 with a label");
    await shows(page, "main", "bird");
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});
