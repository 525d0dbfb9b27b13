// Servers with what is hard to show: a long name, forty classes, a run that fails, images that are there twice, nothing at all.
"use strict";
const { png } = require("./yard.js");

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

/** A dataset whose versions differ, with an image that it has twice. Returns where it is. */
const changed = async (address, model) => {
  const base = `${address}/api/v1/models/${model}/datasets`;
  await fetch(base, { method: "POST", body: JSON.stringify({ name: "changed" }), headers: { "content-type": "application/json" } });
  for (const [label, name, seed] of [["a", "1.png", 1], ["a", "2.png", 2], ["b", "the same as 2.png", 2], ["b", "3.png", 3]]) {
    const body = new FormData();
    body.append("label", label);
    body.append("file", new Blob([png(30, seed)]), name);
    const answer = await fetch(`${base}/changed/images`, { method: "POST", body });
    if (!answer.ok && answer.status !== 409) throw new Error(`${answer.status} ${await answer.text()}`);
  }
  await fetch(`${base}/changed/images?label=a&name=1.png`, { method: "DELETE" });
  return `/models/${model}/datasets/changed`;
};

module.exports = { LONG, changed, hard };
