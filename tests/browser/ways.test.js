// The same pages on a phone, by keyboard alone, and without JavaScript.
"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Yard, launch, misplaced, png, shows } = require("./yard.js");

const QUICK = '[trainer]\ntrain = ["/bin/sh", "-c", "echo accuracy=0.5"]\ntest = ["/bin/sh", "-c", "echo \'{\\"accuracy\\": 0.5, \\"label\\": \\"cat\\"}\'"]\n[sweep]\nlearning_rates = [0.1]\nlayers = [1]\nsteps = [10, 20]\n';

/** Goes on with the Tab key until what is wanted has the focus. */
const tabTo = async (page, selector) => {
  for (let presses = 0; presses < 80; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((selector) => document.activeElement.matches(selector), selector)) return;
  }
  assert.fail(`the keyboard does not reach ${selector} on ${page.url()}`);
};

test("by keyboard alone: a model, an image, a sweep, the best run", async () => {
  const yard = await new Yard(QUICK).start(), browser = await launch();
  try {
    const page = await browser.page(yard.address);
    await page.goto("/");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    await tabTo(page, ".make input[name=name]");
    await page.keyboard.type("pets");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/models/pets");
    await tabTo(page, "a[href$='#upload']");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/datasets/_all#upload");
    // The window in which a file is chosen is the system's own; what comes before and after is the page's.
    await page.setInputFiles("input[data-many]", yard.write("cat_1.png", png(3, 1)));
    await page.focus("input[data-many]");
    await tabTo(page, "#upload form.drop button");
    await page.keyboard.press("Enter");
    await shows(page, ".facts", "1 with a label");
    await page.focus("[data-gallery] a");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#viewer[open]");
    await page.keyboard.press("Escape");
    await page.waitForSelector("#viewer:not([open])", { state: "attached" });
    assert.ok(await page.evaluate(() => document.activeElement.matches("[data-gallery] a")), "the focus is back");

    await page.goto("/models/pets");
    await tabTo(page, "form[action$='/sweep'] button");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelectorAll("#board tbody tr").length === 2);
    await page.locator("#leaderboard").evaluate((head) => { head.tabIndex = -1; head.focus(); });
    await tabTo(page, "#board tbody a");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/runs/*");
    await shows(page, ".figure", "50.00 %");
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});

test("on a phone nothing lies beside the screen or under something else, at any step of the story", async () => {
  const yard = await new Yard(QUICK).start(), browser = await launch();
  try {
    const page = await browser.page(yard.address, { viewport: { width: 375, height: 740 }, hasTouch: true, isMobile: true });
    const fits = async () => assert.deepEqual(await misplaced(page), { wide: 0, covered: [] }, page.url());
    await page.goto("/");
    await fits();
    await page.fill(".make input[name=name]", "a-model-with-a-name-that-is-rather-long-and-has-no-place-to-break_on_a_phone");
    await page.tap(".make button");
    await page.waitForURL("**/models/*");
    await fits();
    const model = page.url();
    await page.tap("text=add images");
    await page.waitForURL("**/datasets/_all#upload");
    await fits();
    await page.setInputFiles("input[data-many]", yard.write(`${"long".repeat(20)}_1.png`, png(3, 1)));
    await page.tap("#upload form.drop button");
    await page.waitForSelector("[data-gallery] li");
    await fits();
    await page.goto(model);
    await Promise.all([page.waitForNavigation(), page.tap("text=Run the sweep")]);
    await page.waitForFunction(() => document.querySelectorAll("#board tbody tr").length === 2);
    await fits();
    for (const place of [await page.getAttribute("#board tbody a", "href"), "/queue", "/settings"]) {
      await page.goto(place);
      await fits();
    }
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});

test("without JavaScript the forms and tables tell the whole story", async () => {
  const yard = await new Yard(QUICK).start(), browser = await launch();
  try {
    const page = await browser.page(yard.address, { javaScriptEnabled: false });
    await page.goto("/");
    await page.fill(".make input[name=name]", "pets");
    await page.click(".make button");
    assert.ok(page.url().endsWith("/models/pets"), page.url());
    await page.click("text=add images");
    await page.setInputFiles("#upload input[type=file] >> nth=0", yard.write("1.png", png(3, 1)));
    await page.fill("#upload input[name=label]", "cat");
    await page.click("#upload form.drop button");
    assert.match(await page.textContent("main"), /1 with a label/);
    await page.goto("/models/pets");
    await page.click("text=Run the sweep");
    // A person would press reload; so do we, until the queue is empty.
    while ((await yard.call("GET", "/api/v1/queue")).queued + (await yard.call("GET", "/api/v1/queue")).running) await page.reload();
    await page.goto("/models/pets");
    assert.equal(await page.locator("#board tbody tr").count(), 2);
    await page.setInputFiles("#predict input[type=file]", yard.write("2.png", png(30, 2)));
    await page.click("#predict button");
    assert.equal((await page.textContent("#prediction .figure strong")).trim(), "cat");
    await page.click("#board th a >> text=Steps");
    assert.equal(await page.getAttribute("#board th:has-text('Steps')", "aria-sort"), "ascending");
    assert.deepEqual(browser.complaints, []);
  } finally { await browser.close(); await yard.close(); }
});
