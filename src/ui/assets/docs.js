// The page of the API: draws what the server's own OpenAPI document says, and tries calls with the browser's session.
"use strict";
(() => {
  const place = document.getElementById("docs-calls");
  const METHODS = ["get", "head", "post", "put", "patch", "delete"];
  /** The longest answer that is shown, in characters. */
  const MOST = 200_000;
  let api;

  /** An element with attributes and children; a text is a text. */
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(key, "");
      else if (value !== undefined && value !== false && value !== null) element.setAttribute(key, value);
    }
    element.append(...children.flat().filter((child) => child !== undefined && child !== null));
    return element;
  };

  /** What a `$ref` refers to. */
  const follow = (value) => {
    while (value?.$ref) value = value.$ref.slice(2).split("/").reduce((at, step) => at?.[step], api);
    return value ?? {};
  };
  const named = (schema) => schema?.$ref?.split("/").pop();
  /** A schema without the alternative of null. */
  const present = (schema) => {
    const any = schema?.oneOf ?? schema?.anyOf;
    return any ? any.find((one) => one.type !== "null") ?? {} : schema ?? {};
  };
  const kinds = (schema) => [follow(present(schema)).type ?? "any"].flat().filter((kind) => kind !== "null");

  /** A schema in a few words. */
  const words = (given) => {
    const name = named(given) ?? named(present(given));
    const schema = follow(present(given));
    const parts = [];
    if (schema.enum) parts.push(schema.enum.join(" | "));
    else if (kinds(schema).includes("array")) parts.push(`list of ${words(schema.items)}`);
    else parts.push(name && schema.properties ? name : schema.format === "binary" ? "file" : kinds(schema).join(" or "));
    if (schema.minimum !== undefined || schema.maximum !== undefined) parts.push(`${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}`);
    if (schema.default !== undefined) parts.push(`${schema.default} unless given`);
    if (given?.oneOf || [given?.type].flat().includes("null")) parts.push("or null");
    return parts.join(", ");
  };

  /** An example of what a schema takes: what has to be given, and of the rest only names that say enough. */
  const example = (given, depth = 0) => {
    const schema = follow(present(given));
    if (schema.example !== undefined) return schema.example;
    if (schema.default !== undefined) return schema.default;
    if (schema.enum) return schema.enum[0];
    switch (kinds(schema)[0]) {
      case "object": {
        const wanted = schema.required ?? Object.keys(schema.properties ?? {});
        return depth > 4 ? {} : Object.fromEntries(wanted.map((name) => [name, example(schema.properties?.[name], depth + 1)]));
      }
      case "array": return depth > 4 ? [] : [example(schema.items, depth + 1)];
      case "integer": case "number": return schema.minimum ?? 0;
      case "boolean": return false;
      default: return "";
    }
  };

  /** The fields of an object, with what they mean. */
  const shape = (given, depth = 0) => {
    const schema = follow(present(given));
    if (kinds(schema)[0] === "array") return shape(schema.items, depth);
    if (!schema.properties || depth > 2) return undefined;
    const wanted = new Set(schema.required ?? []);
    return make("ul", { class: "shape" }, Object.entries(schema.properties).map(([name, property]) => make("li", {},
      make("code", {}, name), ` ${words(property)}${wanted.has(name) ? "" : ", may be missing"}`,
      property.description ? make("span", { class: "faint" }, ` – ${property.description}`) : undefined,
      shape(property, depth + 1))));
  };

  /** A field to enter the value of a parameter in, or of a part of a form. */
  const field = (name, given, about, isWanted, data) => {
    const schema = follow(present(given));
    const item = kinds(schema)[0] === "array" ? follow(schema.items) : undefined;
    const common = { name, required: isWanted, ...data };
    let input;
    if ((item ?? schema).format === "binary") input = make("input", { ...common, type: "file", multiple: Boolean(item) });
    else if (schema.enum || kinds(schema)[0] === "boolean") {
      const choices = schema.enum ?? ["true", "false"];
      input = make("select", common, isWanted ? [] : make("option", { value: "" }, "–"), choices.map((choice) => make("option", {}, String(choice))));
    } else {
      const isNumber = ["integer", "number"].includes(kinds(schema)[0]);
      input = make("input", { ...common, autocomplete: "off", inputmode: isNumber ? "decimal" : undefined, maxlength: schema.maxLength });
    }
    return make("label", {}, make("span", {}, name, isWanted ? " (needed)" : ""), input, make("span", {}, [words(given), about].filter(Boolean).join(" – ")));
  };

  const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

  /** What a form asks for: the address, what fetch takes, and the same for curl. */
  const request = (form, { path, method, content }) => {
    const query = new URLSearchParams();
    const headers = {};
    let at = path;
    const curl = [];
    for (const input of form.querySelectorAll("[data-in]")) {
      const value = input.value;
      if (value === "") continue;
      if (input.dataset.in === "path") at = at.replace(`{${input.name}}`, encodeURIComponent(value));
      else if (input.dataset.in === "query") query.append(input.name, value);
      else if (input.dataset.in === "header") { headers[input.name] = value; curl.push(`-H ${quoted(`${input.name}: ${value}`)}`); }
    }
    const options = { method: method.toUpperCase(), headers, credentials: "same-origin" };
    if (content === "multipart/form-data") {
      options.body = new FormData();
      for (const input of form.querySelectorAll("[data-part]")) {
        for (const file of input.files ?? []) { options.body.append(input.name, file, file.name); curl.push(`-F ${quoted(`${input.name}=@${file.name}`)}`); }
        if (!input.files && input.value !== "") { options.body.append(input.name, input.value); curl.push(`-F ${quoted(`${input.name}=${input.value}`)}`); }
      }
    } else if (content) {
      const body = form.querySelector("textarea").value.trim();
      if (body) {
        options.body = body;
        headers["Content-Type"] = content;
        curl.push(`-H ${quoted(`Content-Type: ${content}`)} -d ${quoted(body)}`);
      }
    }
    const address = at + (query.size ? `?${query}` : "");
    const verb = { GET: "", HEAD: "--head " }[options.method] ?? `-X ${options.method} `;
    return { address, options, curl: `curl ${verb}${curl.join(" ")}${curl.length ? " " : ""}${quoted(location.origin + address)}` };
  };

  const pretty = (text, type) => {
    if (!/json$/.test(type)) return text;
    try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
  };

  /** Shows an answer as it comes; one without an end until it is stopped. */
  const show = async (answer, place) => {
    const type = (answer.headers.get("content-type") ?? "").split(";")[0];
    if (type.startsWith("image/")) {
      place.append(make("img", { src: URL.createObjectURL(await answer.blob()), alt: "The image that was answered" }));
      return;
    }
    const text = make("pre", { tabindex: 0, "aria-label": "The body of the answer" });
    place.append(text);
    if (type === "application/octet-stream") {
      await answer.body?.cancel();
      text.textContent = "Bytes; the command above saves them with -o FILE.";
      return;
    }
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    let whole = "";
    for (;;) {
      const { done, value } = (await reader?.read()) ?? { done: true };
      if (done) break;
      whole += value;
      if (whole.length > MOST) { await reader.cancel(); whole = `${whole.slice(0, MOST)}\n… and more`; break; }
      if (type === "text/event-stream") text.textContent = whole;
    }
    text.textContent = pretty(whole, type) || "(no body)";
  };

  const attempt = async (form, call, place) => {
    const { address, options, curl } = request(form, call);
    const stop = new AbortController();
    const button = make("button", { type: "button", class: "quiet" }, "Stop");
    button.addEventListener("click", () => stop.abort());
    const status = make("p", { role: "status" }, "Asking…");
    place.replaceChildren(make("pre", { tabindex: 0, "aria-label": "The same from a terminal" }, curl), status, button);
    const begun = performance.now();
    try {
      const answer = await fetch(address, { ...options, signal: stop.signal });
      const about = ["location", "etag", "retry-after", "x-request-id"].map((name) => [name, answer.headers.get(name)]).filter(([, value]) => value);
      status.className = answer.ok ? "good" : "problem";
      status.textContent = `${answer.status} ${answer.statusText} after ${Math.round(performance.now() - begun)} ms`;
      place.append(make("p", { class: "facts" }, about.map(([name, value]) => make("span", {}, `${name}: ${value}`))));
      await show(answer, place);
    } catch (error) {
      if (error.name !== "AbortError") { status.className = "problem"; status.textContent = `The server did not answer: ${error.message}`; }
    }
    button.remove();
  };

  /** The inside of a call, drawn when it is opened. */
  const inside = (call) => {
    const { operation } = call;
    const parameters = (operation.parameters ?? []).map(follow);
    const offered = follow(operation.requestBody).content ?? {};
    call.content = Object.keys(offered)[0];
    const body = offered[call.content]?.schema;
    const form = make("form", { class: "try" });
    if (parameters.length) {
      form.append(make("div", { class: "given" }, parameters.map((one) =>
        field(one.name, one.schema, one.description, one.required === true, { "data-in": one.in }))));
    }
    if (call.content === "multipart/form-data") {
      const schema = follow(body);
      form.append(make("div", { class: "given" }, Object.entries(schema.properties ?? {}).map(([name, property]) =>
        field(name, property, property.description, (schema.required ?? []).includes(name), { "data-part": true }))));
    } else if (call.content) {
      const filled = JSON.stringify(example(body), null, 2);
      const input = make("textarea", { spellcheck: "false", rows: Math.min(16, filled.split("\n").length + 1) });
      input.value = filled;
      form.append(make("label", {}, `Body (${call.content})`, input));
      const fields = shape(body);
      if (fields) form.append(make("details", {}, make("summary", {}, `Fields of ${named(body) ?? "the body"}`), fields));
    }
    const answer = make("div", { class: "answer" });
    form.append(make("button", {}, "Try it"));
    form.addEventListener("submit", (event) => { event.preventDefault(); attempt(form, call, answer); });
    const answers = Object.entries(operation.responses ?? {}).map(([status, given]) => {
      const response = follow(given);
      const [type, content] = Object.entries(response.content ?? {})[0] ?? [];
      const fields = status < "4" && content ? shape(content.schema) : undefined;
      const about = `${status} ${response.description ?? ""}${type ? ` (${named(content.schema) ?? type})` : ""}`;
      return make("li", {}, fields ? make("details", {}, make("summary", {}, about), fields) : about);
    });
    return make("div", { class: "inside" },
      operation.description ? make("p", {}, operation.description) : undefined,
      form, answer, make("details", {}, make("summary", {}, "Answers"), make("ul", { class: "shape" }, answers)));
  };

  const draw = (call) => {
    const details = make("details", { class: "call", id: call.operation.operationId },
      make("summary", {}, make("span", { class: `method ${call.method.toUpperCase()}` }, call.method.toUpperCase()),
        make("code", {}, call.path), make("span", { class: "faint" }, call.operation.summary ?? "")));
    details.addEventListener("toggle", () => {
      if (!details.open) return;
      if (details.children.length === 1) details.append(inside(call));
      history.replaceState(null, "", `#${details.id}`);
    });
    call.element = details;
    call.text = [call.method, call.path, call.operation.operationId, call.operation.summary].join(" ").toLowerCase();
    return details;
  };

  const open = () => {
    const wanted = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (wanted && place.contains(wanted)) {
      if (wanted.matches("details")) wanted.open = true;
      wanted.scrollIntoView();
    }
  };

  const begin = async () => {
    const answer = await fetch(place.dataset.document);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    api = await answer.json();
    document.getElementById("docs-version").textContent = `version ${api.info.version}`;
    document.getElementById("docs-about").textContent = api.info.description;
    const calls = Object.entries(api.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })));
    const sections = api.tags.map(({ name, description }) => {
      const id = `tag-${name.replaceAll(" ", "-")}`;
      const own = calls.filter((call) => call.operation.tags[0] === name);
      const section = make("section", { class: "card", "aria-labelledby": id }, make("div", { class: "head" }, make("h2", { id }, name), make("p", { class: "faint" }, description ?? "")), make("div", {}, own.map(draw)));
      return { name, id, section, own };
    });
    const links = make("nav", { class: "tags", "aria-label": "Parts of the API" }, sections.map(({ name, id }) => make("a", { href: `#${id}` }, name)));
    place.replaceChildren(links, ...sections.map(({ section }) => section));
    const form = document.getElementById("docs-find");
    const find = () => {
      const wanted = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const call of calls) call.element.hidden = !wanted.every((word) => call.text.includes(word));
      for (const { section, own } of sections) section.hidden = own.every((call) => call.element.hidden);
      document.getElementById("docs-count").textContent = `${calls.filter((call) => !call.element.hidden).length} of ${calls.length} calls`;
    };
    form.addEventListener("input", find);
    form.addEventListener("submit", (event) => event.preventDefault());
    find();
    open();
    addEventListener("hashchange", open);
  };

  begin().catch((error) => place.replaceChildren(make("p", { class: "problem" }, `The document cannot be shown: ${error.message}. Load the page again.`)));
})();
