// Makes the pages livelier. Everything works without it, only less so: forms are plain, pages are looked at again by hand.
"use strict";
document.documentElement.classList.add("scripted");
const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
const say = (text) => { const said = $("#said"); if (said && said.textContent !== text) said.textContent = text; };

// Live: what the server tells makes the live parts of the page look again, a few times a second at the most.
const live = (() => {
  const listeners = new Set();
  let due = 0, last = 0, missed = false;
  const PACE = 250;
  const look = () => {
    due = 0;
    if (document.hidden) { missed = true; return; }
    last = performance.now();
    // What somebody is typing into, or is about to press, stays as it is until they are done.
    for (const part of $$("[data-live]")) if (!part.contains(document.activeElement) || !document.activeElement.matches("input, select, textarea")) window.htmx.trigger(part, "refresh");
    for (const listener of listeners) listener();
  };
  const soon = () => { if (!due) due = setTimeout(look, Math.max(20, PACE - (performance.now() - last))); };
  // A browser opens few connections to one server, so only a page that somebody looks at keeps one.
  let source = null, polling = 0, again = 0, lost = 0, wanted = false;
  const close = () => { source?.close(); source = null; clearInterval(polling); clearTimeout(again); there(); polling = again = 0; };
  // Whoever looks at a page learns that it stands still, and that there is nothing to do about it.
  const there = () => { clearTimeout(lost); lost = 0; const away = $("#away"); if (away) away.hidden = true; };
  const gone = () => { lost ||= setTimeout(() => { const away = $("#away"); if (away) away.hidden = false; say(away?.textContent ?? ""); }, 2500); };
  const open = () => {
    if (source) return;
    const { run, log, model } = $("[data-live]").dataset;
    const query = run ? `?run=${run}&log=true&log_offset=${log ?? 0}` : model ? `?model=${encodeURIComponent(model)}` : "";
    source = new EventSource(`/api/v1/events${query}`);
    source.onopen = () => { there(); clearInterval(polling); polling = 0; soon(); };
    // Without a stream, or while it is away: look now and then.
    source.onerror = () => {
      polling ||= setInterval(soon, 3000);
      // A browser comes again by itself where nobody answers, but not where the answer is no, such as while all streams are taken.
      if (source.readyState === EventSource.CLOSED) { source = null; there(); again = setTimeout(open, 5000); } else gone();
    };
    // What a listener has shown by itself is no reason to look again.
    for (const kind of ["queue", "sweep", "run", "point", "log", "reset"]) source.addEventListener(kind, (event) => {
      if (document.dispatchEvent(new CustomEvent("told", { cancelable: true, detail: { kind, data: event.data } }))) soon();
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (!wanted) return;
    if (document.hidden) return close();
    open();
    if (missed) { missed = false; look(); }
  });
  addEventListener("pagehide", close);
  const listen = () => {
    const part = $("[data-live]");
    // A run that is over stays as it is.
    if (part.dataset.run && !("open" in part.dataset)) return;
    wanted = true;
    if (!document.hidden) open();
  };
  return { listen, on: (listener) => listeners.add(listener) };
})();

// A line for screen readers when the number of states changes.
const tell = () => {
  const states = $$("#sweep .facts .state").map((state) => state.textContent.trim());
  if (states.length) say(states.join(", "));
  // With the first result come the parts that need one.
  if (!$("#board tbody tr")) return;
  for (const part of $$("[data-when-results][hidden]")) part.hidden = false;
  for (const part of $$("[data-until-results]")) part.hidden = true;
};

// Images that are about to be asked about are shown, dropped ones taken.
const SHOWN = 12;
const preview = (form) => {
  const box = $(".previews", form);
  for (const image of $$("img", box)) URL.revokeObjectURL(image.src);
  box.replaceChildren(...[...$("input[type=file]", form).files].slice(0, SHOWN).map((file) => {
    const image = document.createElement("img");
    image.className = "preview";
    image.alt = image.title = file.name;
    image.onload = () => image.classList.toggle("tiny", image.naturalWidth < 64);
    image.src = URL.createObjectURL(file);
    return image;
  }));
  box.hidden = !box.children.length;
};
const askable = (form) => {
  const input = $("input[type=file]", form);
  input.addEventListener("change", () => { preview(form); });
  const ask = (files) => {
    if (!files.length) return;
    const taken = new DataTransfer();
    for (const file of files) taken.items.add(file);
    input.files = taken.files;
    preview(form);
    form.requestSubmit();
  };
  dropping(form, (found) => ask(found.map(({ file }) => file)));
  document.addEventListener("paste", (event) => ask([...event.clipboardData.files].filter((file) => file.type.startsWith("image/")).slice(0, 1)));
};

// Files and folders that are dropped, as [{ file, path }].
const dropping = (zone, take) => {
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const found = [];
    for (const entry of entries) await walk(entry, "", found);
    take(found.length ? found : [...event.dataTransfer.files].map((file) => ({ file, path: file.name })));
  });
};
const walk = async (entry, folder, found) => {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    if (!entry.name.startsWith(".")) found.push({ file, path: folder + entry.name });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const inner of some) await walk(inner, `${folder}${entry.name}/`, found);
  }
};

// Uploads: a few at once, one call an image; what failed is told, and the rest goes on.
const uploadable = (form) => {
  const { model, dataset } = form.dataset, many = $("[data-many]", form), folder = $("[data-folder]", form);
  const box = $("[data-progress]", form), bar = $("progress", box), told = $("[data-told]", box), label = $("[name=label]", form);
  let busy = false;
  many.multiple = true;
  if (folder) folder.webkitdirectory = true;
  const send = async ({ file, path }) => {
    const body = new FormData();
    body.append("model_name", model);
    if (dataset) body.append("dataset_name", dataset);
    const parts = path.split("/");
    const name = label.value || (parts.length > 1 ? parts.at(-2) : "");
    if (name) body.append("label", name);
    body.append("file", file, parts.at(-1));
    for (let tries = 0; ; tries++) {
      const answer = await fetch("/uploadTrainingImage", { method: "POST", body });
      if (answer.ok) return null;
      if ((answer.status === 429 || answer.status === 503) && tries < 5) {
        await new Promise((done) => setTimeout(done, 1000 * (Number(answer.headers.get("retry-after")) || 1)));
        continue;
      }
      const why = await answer.json().catch(() => ({}));
      return `${path}: ${why.message ?? answer.statusText}`;
    }
  };
  const take = async (all) => {
    // Zip files go as they are; gallery.js takes them.
    const isZip = ({ file }) => /\.zip$/i.test(file.name), zips = all.filter(isZip);
    if (zips.length) document.dispatchEvent(new CustomEvent("zips", { detail: zips.map(({ file }) => file) }));
    if (zips.length === all.length && zips.length) return;
    const files = all.filter((one) => !isZip(one) && (!one.file.type || one.file.type.startsWith("image/")));
    if (busy || !files.length) { if (all.length && !busy) { box.hidden = false; told.textContent = "None of these is an image."; } return; }
    busy = true;
    box.hidden = false;
    bar.max = files.length;
    bar.value = 0;
    const problems = [], left = files[Symbol.iterator]();
    let done = 0;
    const work = async () => {
      for (const one of left) {
        const problem = await send(one).catch((error) => `${one.path}: ${error.message}`);
        if (problem) problems.push(problem);
        bar.value = ++done;
        told.textContent = `${done} of ${files.length}`;
      }
    };
    await Promise.all(Array.from({ length: 6 }, work));
    busy = false;
    told.textContent = problems.length ? `${files.length - problems.length} of ${files.length} uploaded. ${problems.slice(0, 3).join("; ")}` : `${files.length} uploaded`;
    say(told.textContent);
    many.value = "";
    if (folder) folder.value = "";
    if (!problems.length) setTimeout(() => location.reload(), 600);
    else for (const part of $$("[data-live]")) window.htmx.trigger(part, "refresh");
  };
  const chosen = (input) => take([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
  form.addEventListener("submit", (event) => { event.preventDefault(); chosen(many); });
  folder?.addEventListener("change", () => chosen(folder));
  dropping(form, take);
};

// A gallery: arrows go from image to image, and an image opens large.
const gallery = (list) => {
  const links = () => $$("a", list), viewer = $("#viewer");
  const across = () => { const all = links(), top = all[0]?.offsetTop; return Math.max(1, all.findIndex((link) => link.offsetTop !== top)); };
  list.addEventListener("keydown", (event) => {
    const all = links(), at = all.indexOf(document.activeElement);
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(), ArrowUp: -across(), Home: -at, End: all.length - 1 - at }[event.key];
    if (by === undefined || at < 0) return;
    event.preventDefault();
    all[Math.min(all.length - 1, Math.max(0, at + by))].focus();
  });
  if (!viewer) return;
  let at = 0;
  const open = (next) => {
    const all = links();
    at = (next + all.length) % all.length;
    const link = all[at], thumb = $("img", link);
    $("img", viewer).src = link.href;
    $("img", viewer).alt = thumb.alt;
    $("[data-caption]", viewer).textContent = `${thumb.alt} (${at + 1} of ${all.length})`;
    for (const input of $$("input[type=hidden]", viewer)) input.value = link.dataset[input.name] ?? "";
    if (!viewer.open) viewer.showModal();
  };
  list.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(links().indexOf(link));
  });
  viewer.addEventListener("click", (event) => {
    if (event.target.closest("[data-close]") || event.target === viewer) viewer.close();
    const go = event.target.closest("[data-go]");
    if (go) open(at + Number(go.dataset.go));
  });
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) { event.preventDefault(); open(at + by); }
  });
  viewer.addEventListener("close", () => links()[at]?.focus());
};

// The log: what is searched for is marked, and the end stays in sight unless somebody scrolled away from it.
const log = (() => {
  let follows = true;
  const mark = () => {
    const box = $("#log"), wanted = $("[data-search=log]")?.value.toLowerCase();
    if (!box) return;
    const text = box.textContent;
    if (!wanted) { if ($("mark", box)) box.textContent = text; return; }
    const lower = text.toLowerCase(), parts = document.createDocumentFragment();
    let from = 0, count = 0;
    for (let at; count < 500 && (at = lower.indexOf(wanted, from)) >= 0; from = at + wanted.length, count++) {
      const found = document.createElement("mark");
      found.textContent = text.slice(at, at + wanted.length);
      parts.append(text.slice(from, at), found);
    }
    parts.append(text.slice(from));
    box.replaceChildren(parts);
    say(`${count} found`);
  };
  const end = () => { const box = $("#log"); if (box && follows && $("[data-open]")) box.scrollTop = box.scrollHeight; };
  // What is printed is put behind what is shown; false where the page has to look again to have it right.
  const PIECES = 2000;
  const clean = (text) => text.replace(/\r\n?/g, "\n").replace(/[\0-\x08\x0b-\x1f\x7f]/g, (sign) => `\\u{${sign.charCodeAt(0).toString(16)}}`);
  const add = ({ offset, text }) => {
    const box = $("#log"), part = $("[data-log]"), behind = offset + new TextEncoder().encode(text).length;
    if (!box || box.childNodes.length > PIECES) return false;
    const known = Number(part.dataset.log);
    if (behind <= known) return true;
    if (offset !== known) return false;
    box.append(clean(text));
    part.dataset.log = behind;
    if ($("[data-search=log]")?.value) mark();
    return true;
  };
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-search=log]")) { mark(); $("#log mark")?.scrollIntoView({ block: "nearest" }); }
  });
  document.addEventListener("scroll", (event) => {
    if (event.target.id === "log") follows = event.target.scrollTop + event.target.clientHeight > event.target.scrollHeight - 40;
  }, true);
  return { end, mark, add };
})();

// Points and lines of a log are shown as they are told, without another look at the page.
const figure = (value) => (Number.isInteger(value) ? String(value) : Number(value).toPrecision(4));
document.addEventListener("told", (event) => {
  const { kind, data } = event.detail;
  if (kind === "log" && log.add(JSON.parse(data))) event.preventDefault();
  if (kind !== "point") return;
  event.preventDefault();
  const { run, step, metrics } = JSON.parse(data);
  const latest = $("[data-latest]"), cell = $(`.cell.running[href="/runs/${run}"]`);
  if (latest) latest.textContent = `step ${step}: ${Object.entries(metrics ?? {}).map(([name, value]) => `${name} ${figure(value)}`).join(", ")}`;
  if (cell) cell.textContent = `at ${step}`;
});

// The names of htmx's own events differ between its versions, so what changes on the page is watched instead.
const ready = () => {
  $$("form[data-drop=ask]").forEach(askable);
  $$("form[data-drop=upload]").forEach(uploadable);
  $$("[data-gallery]").forEach(gallery);
  log.end();
  if ($("[data-live]")) {
    new MutationObserver(() => { tell(); log.end(); }).observe($("#main"), { childList: true, subtree: true, characterData: true });
    live.listen();
  }
};
// What takes a while says so, and is not sent twice.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button?.dataset.busy || event.defaultPrevented) return;
  say(button.dataset.busy);
  setTimeout(() => { button.disabled = true; button.textContent = button.dataset.busy; });
});
window.live = live;
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
else ready();
