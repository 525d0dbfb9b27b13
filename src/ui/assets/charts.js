// Charts. The same numbers stand in the tables of the page; these are for looking at them together.
"use strict";
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const SERIES = () => dark.matches
    ? ["#5cc0df", "#f0b84a", "#7fd6a3", "#ff9d95", "#c3a6ff", "#ffa05c", "#8fb4ff", "#e58fd0", "#b8d86b", "#9fb3c8"]
    : ["#0b5d7a", "#b97a00", "#0f6b3a", "#a3211b", "#6b46b8", "#c2570c", "#2f5fc4", "#a63d8b", "#5d7d12", "#5b6b7c"];
  const SHADES = () => [0, 3, 6, 9].map((at) => style(`--s${at}`));
  const base = () => ({
    animation: false, backgroundColor: "transparent", color: SERIES(),
    textStyle: { color: style("--ink"), fontFamily: "system-ui, sans-serif" },
    // What is drawn on the canvas needs no style of its own on the page, which the policy would refuse.
    tooltip: { renderMode: "richText", backgroundColor: style("--card"), borderColor: style("--field-line"), textStyle: { color: style("--ink"), fontSize: 12 }, confine: true },
  });
  const lines = () => ({ axisLine: { lineStyle: { color: style("--field-line") } }, axisLabel: { color: style("--faint"), hideOverlap: true }, nameTextStyle: { color: style("--faint") }, splitLine: { lineStyle: { color: style("--line") } } });
  const make = (box) => {
    if (box.chart) return box.chart;
    box.chart = window.echarts.init(box, null, { renderer: "canvas" });
    new ResizeObserver(() => box.chart.resize()).observe(box);
    return box.chart;
  };
  const percent = (value) => `${(value * 100).toFixed(2)} %`;
  const get = async (url) => { const answer = await fetch(url, { headers: { accept: "application/json" } }); if (!answer.ok) throw new Error(answer.statusText); return answer.json(); };

  // points: [learning rate, layers, steps, accuracy, run, experiment], the best first
  const parallel = (box, points) => {
    const axis = (dim, name, more) => ({ dim, name, ...lines(), nameTextStyle: { color: style("--ink"), fontSize: 12 }, splitLine: { show: false }, ...more, axisLabel: { color: style("--ink"), textBorderColor: style("--card"), textBorderWidth: 4, ...more.axisLabel }, z: 5 });
    const found = [0, 1, 2].map((at) => [...new Set(points.map((point) => point[at]))].sort((a, b) => a - b)), kinds = (at) => found[at];
    // A handful of values are places on an axis; many are a scale.
    const scale = (at, log) => { const values = kinds(at); return values.length <= 12 ? { type: "category", data: values.map(String) } : { type: log ? "log" : "value", scale: true }; };
    const low = Math.min(...points.map((point) => point[3])), high = Math.max(...points.map((point) => point[3]));
    const cell = (at, value) => (kinds(at).length <= 12 ? String(value) : value);
    const data = points.map((point) => [cell(0, point[0]), cell(1, point[1]), cell(2, point[2]), point[3]]).reverse();
    const narrow = box.clientWidth < 500;
    const chart = make(box);
    chart.setOption({
      ...base(), tooltip: { show: false },
      parallel: { left: narrow ? 34 : 60, right: narrow ? 44 : 70, top: 40, bottom: 24, parallelAxisDefault: { areaSelectStyle: { width: 16, borderColor: style("--focus"), color: style("--focus"), opacity: .25 } } },
      parallelAxis: [axis(0, narrow ? "rate" : "learning rate", scale(0, true)), axis(1, "layers", scale(1)), axis(2, "steps", scale(2)), axis(3, "accuracy", { type: "value", scale: true, axisLabel: { formatter: (value) => `${+(value * 100).toFixed(2)}%` } })],
      visualMap: { show: false, dimension: 3, min: low, max: high > low ? high : low + 1e-9, inRange: { color: SHADES() .slice(1) } },
      series: [{ type: "parallel", data, lineStyle: { width: points.length > 300 ? 1 : 2, opacity: points.length > 300 ? .35 : .8 }, inactiveOpacity: .04, activeOpacity: .9, progressive: 500 }],
    }, true);
    chart.off("axisareaselected");
    chart.on("axisareaselected", () => {
      const chosen = chart.getModel().getSeries()[0].getRawIndicesByActiveState("active");
      const out = document.querySelector("#brushed");
      if (!out) return;
      if (!chosen.length || chosen.length === points.length) { out.textContent = ""; return; }
      const best = chosen.map((at) => points[points.length - 1 - at]).reduce((a, b) => (b[3] > a[3] ? b : a));
      const link = document.createElement("a");
      link.href = `/runs/${best[4]}`;
      link.textContent = best[5];
      out.replaceChildren(`${chosen.length} of ${points.length} chosen; the best of them is `, link, ` with ${percent(best[3])}.`);
    });
  };

  const DIMENSIONS = { rate: [0, "learning rate"], layers: [1, "layers"], steps: [2, "steps"] };
  const heat = (box, points) => {
    const [x, xName] = DIMENSIONS[box.dataset.x], [y, yName] = DIMENSIONS[box.dataset.y];
    const values = (at) => [...new Set(points.map((point) => point[at]))].sort((a, b) => a - b).slice(0, 40);
    const xs = values(x), ys = values(y), best = new Map();
    const [column, row] = [xs, ys].map((all) => new Map(all.map((value, at) => [value, at])));
    for (const point of points) {
      const key = `${column.get(point[x])},${row.get(point[y])}`;
      if (column.has(point[x]) && row.has(point[y]) && !best.has(key)) best.set(key, point);
    }
    const data = [...best].map(([key, point]) => [...key.split(",").map(Number), point[3], point]);
    const found = data.map((cell) => cell[2]), low = Math.min(...found), high = Math.max(...found);
    const chart = make(box);
    chart.setOption({
      ...base(),
      grid: { left: 8, right: 12, top: 12, bottom: 8, containLabel: true },
      xAxis: { type: "category", data: xs.map(String), name: xName, nameLocation: "middle", nameGap: 28, ...lines(), splitLine: { show: false } },
      yAxis: { type: "category", data: ys.map(String), name: yName, nameLocation: "middle", nameGap: 46, ...lines(), splitLine: { show: false } },
      visualMap: { show: false, dimension: 2, min: low, max: high > low ? high : low + 1e-9, inRange: { color: SHADES() } },
      tooltip: { ...base().tooltip, formatter: ({ value }) => `${value[3][5]}\n${percent(value[2])}` },
      series: [{ type: "heatmap", data, label: { show: xs.length <= 8, color: style("--shade-ink"), formatter: ({ value }) => (value[2] * 100).toFixed(1) }, itemStyle: { borderColor: style("--card"), borderWidth: 2 } }],
    }, true);
    chart.off("click");
    chart.on("click", ({ value }) => { location.href = `/runs/${value[3][4]}`; });
  };

  const curves = (box, named) => {
    const chart = make(box);
    const narrow = box.clientWidth < 500;
    chart.setOption({
      ...base(),
      grid: { left: 8, right: 16, top: 16, bottom: narrow ? 54 : 40, containLabel: true },
      legend: { type: "scroll", bottom: 0, textStyle: { color: style("--ink") }, pageTextStyle: { color: style("--ink") }, pageIconColor: style("--accent"), pageIconInactiveColor: style("--line") },
      tooltip: { ...base().tooltip, trigger: "axis", axisPointer: { lineStyle: { color: style("--field-line") } }, valueFormatter: (value) => (value == null ? "–" : Number(value).toPrecision(4)) },
      xAxis: { type: "value", name: "step", nameLocation: "middle", nameGap: 24, scale: true, ...lines(), splitLine: { show: false } },
      yAxis: { type: "value", scale: true, ...lines() },
      series: named.map(([name, curve]) => ({ name, type: "line", data: curve, showSymbol: curve.length < 2, symbolSize: 5, lineStyle: { width: 2 }, emphasis: { focus: "series" } })),
    }, true);
  };

  // The curves of several runs, one metric at a time.
  const overlaid = async (section, runs) => {
    const box = section.querySelector("[data-chart=curves]"), choice = section.querySelector("[data-metric]");
    if (!box || !choice) return;
    const found = await Promise.all(runs.map(async ([run, name]) => [name, await get(`/runs/${run}/curves.json`).catch(() => ({}))]));
    const metrics = [...new Set(found.flatMap(([, metrics]) => Object.keys(metrics)))];
    const figure = box.closest("figure");
    figure.hidden = !metrics.length;
    if (!metrics.length) return;
    const kept = choice.value || metrics.find((name) => /val.*acc|accuracy/.test(name)) || metrics[0];
    choice.replaceChildren(...metrics.map((name) => { const option = document.createElement("option"); option.textContent = name; option.selected = name === kept; return option; }));
    const draw = () => curves(box, found.filter(([, metrics]) => metrics[choice.value]).map(([name, metrics]) => [name, metrics[choice.value]]));
    choice.onchange = draw;
    section.redraw = draw;
    draw();
  };

  const whole = async (section) => {
    if (section.dataset.runs) {
      const ids = section.dataset.runs.split(",");
      const names = [...document.querySelectorAll("thead th a")].map((link) => link.textContent);
      return overlaid(section, ids.map((id, at) => [id, names[at] ?? id]));
    }
    const points = await get(section.dataset.charts);
    if (!points.length) return;
    const draw = () => {
      // What somebody has chosen stays chosen while new results come in.
      const chosen = document.querySelector("#brushed")?.textContent;
      for (const box of section.querySelectorAll("[data-chart=parallel]")) if (!chosen) parallel(box, points);
      for (const box of section.querySelectorAll("[data-chart=heat]")) heat(box, points);
    };
    draw();
    await overlaid(section, points.slice(0, 10).map((point) => [point[4], point[5]]));
    const old = section.redraw;
    section.redraw = () => { draw(); old?.(); };
  };

  const own = async (section) => {
    const known = new Map(Object.entries(await get(section.dataset.curves)));
    const box = section.querySelector(".chart"), empty = section.querySelector("[data-empty]"), choice = section.querySelector("[data-metric]");
    let names = "";
    section.redraw = () => {
      const found = [...known];
      for (const part of [box, choice.parentElement]) part.hidden = !found.length;
      empty.hidden = !!found.length;
      if (!found.length) return;
      // What goes from nought to about one is looked at together; the rest has scales of its own.
      const together = found.filter(([name]) => /acc|loss|f1|precision|recall|error/i.test(name));
      const sets = [...(together.length > 1 ? [[together.map(([name]) => name).join(", "), together]] : []), ...found.map((one) => [one[0], [one]])];
      if (names !== sets.map(([name]) => name).join()) {
        names = sets.map(([name]) => name).join();
        const kept = choice.value;
        choice.replaceChildren(...sets.map(([name]) => { const option = document.createElement("option"); option.textContent = name; option.selected = name === kept; return option; }));
      }
      curves(box, (sets.find(([name]) => name === choice.value) ?? sets[0])[1]);
    };
    choice.onchange = section.redraw;
    section.redraw();
    // Points that are told go onto the curves at once; those that were read already are told again.
    section.take = ({ step, metrics }) => {
      for (const [name, value] of Object.entries(metrics ?? {})) {
        if (!known.has(name)) known.set(name, []);
        const curve = known.get(name);
        if (Number.isFinite(value) && (!curve.length || step > curve.at(-1)[0])) curve.push([step, value]);
      }
      section.due ||= requestAnimationFrame(() => { section.due = 0; section.redraw(); });
    };
  };

  const refresh = (section) => (section.dataset.curves ? own(section) : whole(section)).catch(() => {});
  const ready = () => {
    const sections = [...document.querySelectorAll("[data-charts], [data-curves]")];
    // Below the fold they wait until they are looked at.
    const seen = new Set();
    const watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) if (isIntersecting && !seen.has(target)) { seen.add(target); refresh(target); }
    }, { rootMargin: "300px" });
    sections.forEach((section) => watcher.observe(section));
    document.addEventListener("told", ({ detail: { kind, data } }) => {
      if (kind !== "point") return;
      const point = JSON.parse(data);
      for (const section of seen) section.take?.(point);
    });
    let due = 0;
    const again = () => { if (!due) due = setTimeout(() => { due = 0; for (const section of seen) if (!section.take) refresh(section); }, 400); };
    window.live?.on(() => { const open = document.querySelector("[data-open], #sweep progress"); if (open || again.was) again(); again.was = !!open; });
    for (const query of [dark, calm]) query.addEventListener("change", () => seen.forEach((section) => section.redraw?.()));
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready);
  else ready();
})();
