// Galleries: small pictures that cannot be shown, pages that follow by themselves, images that are ticked, zip files.
// Everything works without it, only less so. It uses what app.js has.
"use strict";

// A picture that cannot be made leaves a place that says so.
const missing = (image) => {
  if (image.dataset.missing !== undefined) return;
  image.dataset.missing = "";
  image.alt = `${image.alt} (no picture)`;
};
document.addEventListener("error", (event) => { if (event.target.matches?.(".thumbs img, .copies img")) missing(event.target); }, true);

// The next page is put behind this one before anybody gets there.
const endless = (list) => {
  const section = list.closest("section");
  let busy = false;
  const follow = async (link) => {
    if (busy) return;
    busy = true;
    try {
      const answer = await fetch(link.href);
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const more = page.querySelector("[data-gallery]"), next = page.querySelector("[data-more]");
      if (more) list.append(...more.children);
      if (next) link.href = new URL(next.getAttribute("href"), link.href).href;
      else link.remove();
    } catch { /* The link is still there, to be followed by hand. */ } finally { busy = false; }
    const left = section.querySelector("[data-more]");
    if (left) { watch.unobserve(left); watch.observe(left); }
  };
  const watch = new IntersectionObserver((seen) => { for (const { isIntersecting, target } of seen) if (isIntersecting) follow(target); }, { rootMargin: "600px" });
  const link = section?.querySelector("[data-more]");
  if (link) watch.observe(link);
};

// Images that are ticked, by the mouse or by x on the one that has the focus; with Shift, all from the last one on.
const ticking = (form, list) => {
  const boxes = () => $$("input[type=checkbox]", list), told = $("[data-ticked]", form), submit = $("button:not([type])", form);
  let last = null;
  const count = () => {
    const ticked = boxes().filter((box) => box.checked).length;
    told.textContent = ticked ? `${ticked} ticked` : "";
    submit.disabled = !ticked;
  };
  const tick = (box, on, range) => {
    const all = boxes(), from = range && last ? all.indexOf(last) : all.indexOf(box), to = all.indexOf(box);
    for (const one of all.slice(Math.min(from, to), Math.max(from, to) + 1)) one.checked = on;
    last = box;
    count();
    say(told.textContent || "none ticked");
  };
  list.addEventListener("click", (event) => { if (event.target.matches("input[type=checkbox]")) tick(event.target, event.target.checked, event.shiftKey); });
  list.addEventListener("keydown", (event) => {
    const box = $("input[type=checkbox]", event.target.closest("li"));
    if (event.key.toLowerCase() !== "x" || event.ctrlKey || event.metaKey || !box) return;
    event.preventDefault();
    tick(box, !box.checked, event.shiftKey);
  });
  const all = (on) => { for (const box of boxes()) box.checked = on; count(); say(told.textContent || "none ticked"); };
  $("[data-all]", form).addEventListener("click", () => all(true));
  $("[data-none]", form).addEventListener("click", () => all(false));
  // More than one call takes go in several.
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const label = $("[name=new_label]", form).value.trim() || null, most = Number(form.dataset.most);
    const changes = boxes().filter((box) => box.checked).map((box) => {
      const at = box.value.indexOf("/");
      return { label: box.value.slice(0, at) || null, name: box.value.slice(at + 1), new_label: label };
    });
    submit.disabled = true;
    for (let from = 0; from < changes.length; from += most) {
      told.textContent = `${from} of ${changes.length}`;
      const answer = await fetch(form.dataset.relabel, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ changes: changes.slice(from, from + most) }) }).catch((error) => error);
      if (answer.ok) continue;
      const why = await answer.json?.().catch(() => null);
      told.textContent = why?.detail ?? answer.message ?? answer.statusText;
      say(told.textContent);
      submit.disabled = false;
      return;
    }
    location.reload();
  });
  count();
};

// Zip files: how far they are sent, then how far they are added, then what became of them.
const archives = (report) => {
  const bar = $("progress", report), told = $("[data-told]", report), refusals = $(".refusals", report);
  const show = (text) => { told.textContent = text; };
  const send = (target, file) => new Promise((done) => {
    const request = new XMLHttpRequest(), body = new FormData();
    body.append("file", file);
    let read = 0, last = null;
    const lines = () => {
      const end = request.responseText.lastIndexOf("\n") + 1;
      for (const line of request.responseText.slice(read, end).split("\n").filter(Boolean)) last = JSON.parse(line);
      read = end;
      if (last?.type === "progress") { bar.max = last.entries || 1; bar.value = last.done; show(`${file.name}: ${last.added} added, ${last.done} of ${last.entries} looked at`); }
    };
    request.upload.onprogress = (event) => { bar.max = event.total; bar.value = event.loaded; show(`${file.name}: ${Math.round((100 * event.loaded) / event.total)} % sent`); };
    request.onprogress = () => { if (request.status === 200) lines(); };
    request.onload = () => {
      if (request.status !== 200) {
        let why = {};
        try { why = JSON.parse(request.responseText); } catch { /* Then the status has to do. */ }
        return done({ type: "failed", reason: why.detail ?? request.statusText, added: 0, refusals: [] });
      }
      lines();
      done(last);
    };
    request.onerror = () => done({ type: "failed", reason: "the server did not answer; send it again, and what is stored is passed over", added: 0, refusals: [] });
    request.open("POST", target);
    request.send(body);
  });
  return async (target, file) => {
    report.hidden = false;
    refusals.hidden = true;
    refusals.replaceChildren();
    const end = await send(target, file);
    show(end.type === "done"
      ? `${file.name}: ${end.added} added, ${end.stored_already} were there before, ${end.passed_over} hidden files passed over, ${end.refused} not taken`
      : `${file.name}: ${end.reason}`);
    for (const { entry, reason } of end.refusals ?? []) {
      const line = document.createElement("li");
      line.textContent = `${entry}: ${reason}`;
      refusals.append(line);
    }
    const untold = (end.refused ?? 0) - refusals.children.length;
    if (untold > 0) { const line = document.createElement("li"); line.textContent = `and ${untold} more`; refusals.append(line); }
    refusals.hidden = !refusals.children.length;
    say(told.textContent);
    if (end.type === "done" && !end.refused && end.added) setTimeout(() => location.reload(), 600);
    else for (const part of $$("[data-live]")) window.htmx.trigger(part, "refresh");
  };
};

const decorate = () => {
  for (const list of $$("[data-gallery]")) {
    endless(list);
    const form = $("form[data-relabel]");
    if (form) ticking(form, list);
  }
  for (const image of $$(".thumbs img, .copies img")) if (image.complete && image.src && !image.naturalWidth && image.loading !== "lazy") missing(image);
  const form = $("form[data-archive]"), report = $("[data-archive-report]");
  if (!form || !report) return;
  const add = archives(report), input = $("input[type=file]", form);
  let turn = Promise.resolve();
  const queue = (file) => { turn = turn.then(() => add(form.dataset.archive, file)); };
  form.addEventListener("submit", (event) => { event.preventDefault(); if (input.files[0]) queue(input.files[0]); });
  document.addEventListener("zips", (event) => event.detail.forEach(queue));
};
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", decorate);
else decorate();
