"use strict";
/* The chart of the report. It reads the data of this page and nothing else. All texts of runs are set as text, never as HTML. */
(() => {
  const $ = (id) => document.getElementById(id);
  const NS = "http://www.w3.org/2000/svg";
  const host = $("chart"), tip = $("tip"), say = $("say");
  const COLORS = 6;
  let data = readData(document);
  const state = { metric: data.metric, x: "step", log: false, smooth: 0, runs: false, hidden: new Set(), on: null, at: null };
  let right = 0; // where the horizontal axis ends
  let view = null; // what was drawn last: frame, lines

  function readData(from) { return JSON.parse(from.getElementById("data").textContent); }

  function make(name, attributes, text) {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function html(name, className, text) {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  const color = (place) => (place < COLORS ? `c${place}` : "other");
  const title = (place) => data.groups[place].label.join(" · ");

  /* ---- numbers ---- */
  const minus = (text) => text.replace(/^-/, "−");
  function number(value, digits = 4) {
    if (!Number.isFinite(value)) return minus(String(value));
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 10 ** (digits + 1))) return minus(value.toExponential(digits - 1).replace(/\.?0*e/, "e"));
    const whole = size === 0 ? 0 : Math.floor(Math.log10(size)) + 1;
    return minus(value.toFixed(Math.min(6, Math.max(0, digits - Math.max(whole, 0)))));
  }
  const shown = (metric, value) => (metric.percent ? `${minus((100 * value).toFixed(1))} %` : number(value));
  function clock(seconds) {
    const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
    if (whole < 60) return seconds < 10 ? `${+seconds.toFixed(1)} s` : `${whole} s`;
    const hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
    return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  }
  function ticks(low, high, about) {
    if (!(low < high)) return [low];
    const power = 10 ** Math.floor(Math.log10((high - low) / about));
    const step = power * [1, 2, 5, 10].find((times) => (high - low) / (power * times) <= about);
    const found = [];
    for (let place = Math.ceil(low / step - 1e-9); place <= high / step + 1e-9 && found.length < 50; place++) found.push(+(place * step).toPrecision(12));
    return found;
  }
  function logTicks(low, high) {
    const found = [], wide = Math.log10(high / low);
    const every = Math.max(1, Math.ceil(wide / 7));
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const times of wide > 3 ? [1] : wide > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]) {
        const value = +(times * 10 ** power).toPrecision(12);
        if (value >= low && value <= high && (wide <= 3 || power % every === 0)) found.push(value);
      }
    }
    return found.length > 1 ? found : ticks(low, high, 4);
  }
  function stepTicks(low, high, about) { // of seconds: minutes and hours have round parts of their own
    if (state.x !== "time" || high < 60) {
      const all = ticks(low, high, about), whole = all.filter(Number.isInteger);
      return state.x === "time" || whole.length < 2 ? all : whole;
    }
    const unit = [10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400].find((size) => high / size <= about) || 86400 * Math.ceil(high / 86400 / about);
    const found = [];
    for (let at = 0; at <= high; at += unit) found.push(at);
    return found;
  }
  const xText = (value) => (state.x === "time" ? clock(value) : right >= 1e5 ? compact(value) : (+value.toFixed(2)).toLocaleString("en-US"));
  const compact = (value) => value === 0 ? "0" : value < 1e3 ? String(+value.toPrecision(4)) : value >= 1e9 ? `${+(value / 1e9).toPrecision(4)}B` : value >= 1e6 ? `${+(value / 1e6).toPrecision(4)}M` : `${+(value / 1e3).toPrecision(4)}k`;

  /* ---- from steps to epochs or seconds, by what is known of each group ---- */
  function place(group, step) {
    if (state.x === "step") return step;
    const known = data.groups[group].knots, xs = known.s, ys = state.x === "epoch" ? known.e : known.t;
    let i = below(xs, step);
    if (i >= xs.length - 1) i = xs.length - 2;
    const share = (step - xs[i]) / (xs[i + 1] - xs[i]);
    return ys[i] + share * (ys[i + 1] - ys[i]);
  }
  function below(sorted, value) { // the last place that is not above the value, at least 0
    let low = 0, high = sorted.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (sorted[middle] <= value) low = middle; else high = middle - 1;
    }
    return low;
  }
  function axes() {
    const drawn = new Set(data.metrics.flatMap((metric) => metric.lines.map((line) => line.g)));
    const has = (key) => drawn.size > 0 && [...drawn].every((g) => data.groups[g].knots[key] && data.groups[g].knots.s.length > 1);
    return ["step", ...(has("e") ? ["epoch"] : []), ...(has("t") ? ["time"] : [])];
  }
  function smoothed(values) {
    if (!state.smooth) return values;
    let sum = 0, weight = 0;
    return values.map((value) => {
      sum = state.smooth * sum + (1 - state.smooth) * value;
      weight = state.smooth * weight + (1 - state.smooth);
      return sum / weight;
    });
  }

  /* ---- drawing ---- */
  const metricNow = () => data.metrics.find((metric) => metric.name === state.metric) || data.metrics[0];
  const isShown = (line) => !state.hidden.has(line.g < COLORS ? line.g : "others");

  function prepared(metric) {
    return metric.lines.filter(isShown).map((line) => {
      const at = (steps) => steps.map((step) => place(line.g, step));
      const rx = at(line.s);
      if (state.smooth) { // of means of stretches, where there are more points than are drawn
        return { ...line, rx, x: line.as ? at(line.as) : rx, y: smoothed(line.am || line.m) };
      }
      return { ...line, rx, x: rx, y: line.m, low: line.lo, high: line.hi };
    });
  }
  function domain(lines) {
    const ranging = lines.some((line) => line.final) ? lines.filter((line) => line.final) : lines;
    let low = Infinity, high = -Infinity, right = 0;
    for (const line of lines) if (line.x.length) right = Math.max(right, line.x[line.x.length - 1]);
    for (const line of ranging) for (const row of [line.m, line.lo || [], line.hi || []]) for (const value of row) {
      if (state.log && !(value > 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (!(low <= high)) { low = state.log ? 0.1 : 0; high = 1; }
    if (low === high) { const reach = state.log ? low / 10 : Math.abs(low) * 0.05 || 0.5; low -= reach; high += reach; }
    return { low, high, right: right || 1 };
  }

  function draw() {
    const metric = metricNow();
    if (!metric) return;
    const width = host.clientWidth || 800, narrow = width < 560, height = narrow ? 330 : 430;
    const lines = prepared(metric), range = domain(lines);
    const labelled = lines.filter((line) => line.g < COLORS && line.x.length);
    const texts = labelled.map((line) => labelRows(line, metric, narrow ? Math.max(72, width * 0.26) : 190));
    const labelWidth = Math.max(0, ...texts.flat().map((row) => measure(row.text, row.bold)));
    const left = 50, top = 14, bottom = 42;
    const frame = { left, top, width: Math.max(80, width - left - 16 - labelWidth), height: height - top - bottom, ...range };
    const scale = state.log ? Math.log : (value) => value;
    frame.px = (x) => left + (x / range.right) * frame.width;
    const a = scale(range.low), b = scale(range.high);
    frame.py = (value) => (state.log && !(value > 0) ? NaN : top + frame.height * (1 - Math.min(3, Math.max(-2, (scale(value) - a) / (b - a)))));

    right = range.right;
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    drawAxes(svg, frame, metric, narrow);
    const clip = make("clipPath", { id: "inside" });
    clip.append(make("rect", { x: left, y: top - 3, width: frame.width + 3, height: frame.height + 6 }));
    const curves = make("g", { "clip-path": "url(#inside)" });
    for (const line of [...lines].reverse()) drawLine(curves, line, frame);
    svg.append(clip, curves);
    drawLabels(svg, labelled, texts, frame);
    svg.append(make("g", { id: "cross" }));
    host.querySelector("svg")?.remove();
    host.prepend(svg);
    view = { frame, lines, metric, width, height };
    if (state.at !== null) showAt(state.at, null);
    if (state.on !== null) light(state.on);
    $("said").textContent = caption(metric, lines);
  }
  function caption(metric, lines) {
    const parts = [data.many ? "Line: mean of the seeds. Band: from the lowest to the highest seed." : "One line for each run."];
    if (lines.some((line) => line.runs.some((run) => !run.meant))) parts.push("Dashed: did not finish.");
    if (lines.some((line) => line.g >= COLORS)) parts.push(`Grey: all but the best ${COLORS}; point at one for its name.`);
    if (state.smooth) parts.push(`The mean is smoothed (weight ${state.smooth.toFixed(2)}); band and faint lines are as measured.`);
    if (state.log && metric.lines.some((line) => line.m.some((value) => !(value > 0)))) parts.push("A log scale has no place for values of 0 and below: they are left out.");
    return parts.join(" ");
  }
  function drawAxes(svg, frame, metric, narrow) {
    const across = state.log ? logTicks(frame.low, frame.high) : ticks(frame.low, frame.high, 5);
    for (const value of across) {
      const y = frame.py(value), unit = metric.percent && value === across[across.length - 1] ? " %" : "";
      svg.append(make("line", { x1: frame.left, x2: frame.left + frame.width, y1: y, y2: y, class: "grid" }));
      const text = metric.percent ? +(100 * value).toPrecision(4) + unit : tickText(value);
      svg.append(make("text", { x: frame.left - 8, y: y + 4, class: "soft tick", "text-anchor": "end" }, minus(text)));
    }
    const base = frame.top + frame.height;
    svg.append(make("line", { x1: frame.left, x2: frame.left + frame.width, y1: base, y2: base, class: "axis" }));
    const along = stepTicks(0, frame.right, Math.max(2, Math.floor(frame.width / 62)));
    along.forEach((value, index) => {
      svg.append(make("text", { x: frame.px(value), y: base + 18, class: "soft tick", "text-anchor": index ? "middle" : "start" }, xText(value)));
    });
    const unit = { step: "steps", epoch: "epochs", time: "training time" }[state.x];
    svg.append(make("text", { x: frame.left + frame.width, y: base + 34, class: "soft tick", "text-anchor": "end" }, unit));
  }
  const tickText = (value) => (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential().replace("e+", "e") : String(+value.toPrecision(6)));

  function path(frame, xs, ys, open = true) {
    let text = "", pen = "M";
    for (let i = 0; i < xs.length; i++) {
      const y = frame.py(ys[i]);
      if (!(y === y)) { pen = open ? "M" : pen; continue; }
      text += `${pen}${frame.px(xs[i]).toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    }
    return text;
  }
  function drawLine(parent, line, frame) {
    const group = make("g", { "data-line": line.g }), name = color(line.g);
    if (line.lo && name !== "other") {
      const there = path(frame, line.rx, line.hi, false);
      const back = path(frame, [...line.rx].reverse(), [...line.lo].reverse(), false);
      if (there && back) group.append(make("path", { d: `${there}L${back.slice(1)}Z`, class: `band ${name}` }));
    }
    for (const run of line.runs) {
      if (run.meant && !state.runs) continue;
      const x = run.s.map((step) => place(line.g, step));
      group.append(make("path", { d: path(frame, x, run.v), class: `${run.meant ? "run" : "lost"} ${name}` }));
    }
    if (state.smooth && name !== "other") group.append(make("path", { d: path(frame, line.rx, line.m), class: `line raw ${name}` }));
    group.append(make("path", { d: path(frame, line.x, line.y), class: `line ${name}` }));
    if (line.x.length === 1) group.append(make("circle", { cx: frame.px(line.x[0]), cy: frame.py(line.y[0]) || -9, r: 3.5, class: name }));
    parent.append(group);
  }

  /* ---- labels at the ends of lines ---- */
  const canvas = document.createElement("canvas").getContext("2d");
  function measure(text, bold) {
    canvas.font = `${bold ? 600 : 400} 13px ${getComputedStyle(document.body).fontFamily}`;
    return canvas.measureText(text).width + 2;
  }
  function cut(text, width, bold) {
    if (measure(text, bold) <= width) return text;
    while (text && measure(`${text}…`, bold) > width) text = text.slice(0, -1);
    return `${text.trimEnd()}…`;
  }
  function labelRows(line, metric, width) {
    const label = data.groups[line.g].label;
    const names = label.length > 2 ? [label[0], label.slice(1).join(" · ")] : label;
    const rows = names.map((name) => ({ text: cut(name, width, true), bold: true }));
    rows.push({ text: shown(metric, line.y[line.y.length - 1]), bold: false });
    return rows;
  }
  function drawLabels(svg, lines, texts, frame) {
    const size = 15, edge = frame.left + frame.width + 12;
    const wanted = lines.map((line) => Math.min(frame.top + frame.height, Math.max(frame.top, frame.py(line.y[line.y.length - 1]) || frame.top + frame.height)));
    const heights = texts.map((rows) => rows.length * size + 6);
    const middles = spread(wanted, heights, frame.top - 10, frame.top + frame.height + 26);
    lines.forEach((line, i) => {
      const name = color(line.g), end = frame.px(line.x[line.x.length - 1]);
      const group = make("g", { "data-line": line.g });
      if (Math.abs(middles[i] - wanted[i]) > 7 || edge - end > 22) {
        group.append(make("path", { d: `M${end + 3} ${wanted[i]}L${edge - 3} ${middles[i]}`, class: `leader ${edge - end > 22 ? "far " : ""}${name}` }));
      }
      texts[i].forEach((row, k) => {
        const y = middles[i] - ((texts[i].length - 1) * size) / 2 + 4.5 + k * size;
        const text = make("text", { x: edge, y, class: `label ${name}` });
        text.append(make("tspan", row.bold ? {} : { class: "at" }, row.text));
        group.append(text);
      });
      svg.append(group);
    });
  }
  function spread(wanted, heights, low, high) {
    const inside = (top, height) => Math.max(low, Math.min(top, high - height));
    const order = wanted.map((_, i) => i).sort((i, j) => wanted[i] - wanted[j]), blocks = [];
    for (const i of order) {
      let block = { members: [i], height: heights[i], top: inside(wanted[i] - heights[i] / 2, heights[i]) };
      while (blocks.length && blocks.at(-1).top + blocks.at(-1).height > block.top) {
        const before = blocks.pop(), members = [...before.members, ...block.members];
        let above = 0, total = 0;
        for (const j of members) { total += wanted[j] - heights[j] / 2 - above; above += heights[j]; }
        block = { members, height: above, top: inside(total / members.length, above) };
      }
      blocks.push(block);
    }
    const middles = [];
    for (const block of blocks) { let top = block.top; for (const i of block.members) { middles[i] = top + heights[i] / 2; top += heights[i]; } }
    return middles;
  }

  /* ---- reading values: pointer and keys ---- */
  function valueAt(line, x) {
    if (!line.x.length || x < line.x[0] - 1e-9 || x > line.x.at(-1) + 1e-9) return null;
    const i = below(line.x, x), next = Math.min(i + 1, line.x.length - 1);
    const share = next === i || line.x[next] === line.x[i] ? 0 : (x - line.x[i]) / (line.x[next] - line.x[i]);
    const read = (row) => row[i] + share * (row[next] - row[i]);
    return { line, value: read(line.y), low: line.low ? read(line.low) : null, high: line.high ? read(line.high) : null };
  }
  function nearest(x) { // the nearest place where something was measured
    let best = null;
    for (const line of view.lines) {
      if (!line.x.length) continue;
      const i = below(line.x, x);
      for (const j of [i, Math.min(i + 1, line.x.length - 1)]) if (best === null || Math.abs(line.x[j] - x) < Math.abs(best - x)) best = line.x[j];
    }
    return best;
  }
  function showAt(x, pointerY) {
    if (!view || x === null) return;
    state.at = x;
    const { frame, lines, metric } = view;
    const cross = host.querySelector("#cross");
    cross.replaceChildren(make("line", { x1: frame.px(x), x2: frame.px(x), y1: frame.top, y2: frame.top + frame.height, class: "cross" }));
    const found = lines.map((line) => valueAt(line, x)).filter(Boolean).filter((one) => frame.py(one.value) === frame.py(one.value));
    let close = null;
    if (pointerY !== null) {
      close = found.reduce((best, one) => (best && Math.abs(frame.py(best.value) - pointerY) <= Math.abs(frame.py(one.value) - pointerY) ? best : one), null);
      if (close && Math.abs(frame.py(close.value) - pointerY) > 24) close = null;
      light(close && close.line.g >= COLORS ? close.line.g : null);
    }
    const listed = found.filter((one) => one.line.g < COLORS || one === close).sort((p, q) => frame.py(p.value) - frame.py(q.value));
    for (const one of listed) cross.append(make("circle", { cx: frame.px(x), cy: frame.py(one.value), r: 3.5, class: color(one.line.g) }));
    fillTip(x, listed, metric, close);
  }
  function fillTip(x, listed, metric, close) {
    const where = state.x === "step" ? `step ${xText(x)}` : state.x === "epoch" ? `epoch ${xText(x)}` : `after ${clock(x)}`;
    const table = html("table");
    for (const one of listed) {
      const row = html("tr"), swatch = html("td");
      swatch.append(html("span", `swatch ${color(one.line.g)}`));
      const name = html("td", "", title(one.line.g));
      if (one === close) name.style.fontWeight = "600";
      row.append(swatch, name, html("td", "n", shown(metric, one.value)));
      row.append(html("td", "r", one.low !== null && one.low !== one.high ? `${shown(metric, one.low).replace(" %", "")} to ${shown(metric, one.high)}` : ""));
      table.append(row);
    }
    tip.replaceChildren(html("p", "at", where), table);
    tip.hidden = false;
    const { frame, width } = view, at = frame.px(x), room = tip.offsetWidth;
    const middle = frame.left + frame.width / 2; // away from the labels where there is room
    const side = at > middle && at - 14 - room >= 0 ? at - 14 - room : at + 14;
    const busy = Math.min(...listed.map((one) => frame.py(one.value))) < frame.top + tip.offsetHeight + 8;
    const down = busy && Math.max(...listed.map((one) => frame.py(one.value))) < frame.top + frame.height - tip.offsetHeight - 8;
    const top = down ? frame.top + frame.height - tip.offsetHeight - 6 : frame.top;
    tip.style.transform = `translate(${Math.max(0, Math.min(side, width - room))}px, ${top}px)`;
    say.textContent = `${where}: ${listed.map((one) => `${title(one.line.g)} ${shown(metric, one.value)}`).join(", ")}`;
  }
  function clearAt() {
    state.at = null;
    tip.hidden = true;
    host.querySelector("#cross")?.replaceChildren();
    light(null);
  }
  function light(place) { // one group stands out
    state.on = place;
    for (const node of host.querySelectorAll("[data-line]")) {
      const own = place !== null && +node.dataset.line === place;
      node.classList.toggle("dim", place !== null && !own && +node.dataset.line < COLORS);
      node.querySelector(".line.other")?.classList.toggle("on", own);
    }
  }
  function byPointer(event) {
    if (!view) return;
    const box = host.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top, { frame } = view;
    if (x < frame.left - 20 || x > frame.left + frame.width + 20 || y > frame.top + frame.height + 20) return clearAt();
    showAt(nearest(((x - frame.left) / frame.width) * frame.right), y);
  }
  function byKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !view) return;
    const xs = [...new Set(view.lines.filter((line) => line.g < COLORS).flatMap((line) => line.x))].sort((p, q) => p - q);
    const now = state.at === null ? xs.length : xs.findIndex((x) => x >= state.at - 1e-9);
    const many = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: now - many, ArrowRight: state.at === null ? 0 : now + many, Home: 0, End: xs.length - 1 }[event.key];
    if (to !== undefined && xs.length) showAt(xs[Math.max(0, Math.min(xs.length - 1, to))], null);
    else if (event.key === "Escape") clearAt();
    else if (event.key === "l") toggle("log");
    else if (event.key === "r") toggle("runs");
    else return;
    event.preventDefault();
  }
  function toggle(name) {
    state[name] = !state[name];
    $(name).checked = state[name];
    draw();
  }

  /* ---- controls ---- */
  function fillControls() {
    const select = $("metric");
    select.replaceChildren(...data.metrics.map((metric) => { const option = html("option", "", metric.name); option.value = metric.name; return option; }));
    if (!data.metrics.some((metric) => metric.name === state.metric)) state.metric = data.metric;
    select.value = state.metric;
    const known = axes();
    if (!known.includes(state.x)) state.x = "step";
    $("axis").replaceChildren(...known.map((name) => {
      const button = html("button", "", name[0].toUpperCase() + name.slice(1));
      button.type = "button";
      button.setAttribute("aria-pressed", String(name === state.x));
      button.addEventListener("click", () => { state.x = name; state.at = null; tip.hidden = true; fillControls(); draw(); $("axis").querySelector('[aria-pressed="true"]').focus(); });
      return button;
    }));
    $("axis").hidden = known.length < 2;
    $("runs").closest("label").hidden = !data.many;
    fillChips();
  }
  function fillChips() {
    const groups = data.groups.slice(0, COLORS).map((_, place) => [place, title(place)]);
    if (data.groups.length > COLORS) groups.push(["others", `${data.groups.length - COLORS} others`]);
    $("chips").replaceChildren(...(groups.length < 2 ? [] : groups).map(([key, text]) => {
      const button = html("button");
      button.type = "button";
      button.append(html("span", `swatch ${key === "others" ? "" : color(key)}`), html("span", "", text));
      const mark = () => button.setAttribute("aria-pressed", String(!state.hidden.has(key)));
      button.addEventListener("click", () => { if (!state.hidden.delete(key)) state.hidden.add(key); mark(); state.on = null; draw(); });
      for (const [start, end] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
        button.addEventListener(start, () => key !== "others" && !state.hidden.has(key) && light(key));
        button.addEventListener(end, () => light(null));
      }
      mark();
      return button;
    }));
  }
  /* ---- pictures: a step of each, and larger ---- */
  function showSteps(root = document) {
    for (const slider of root.querySelectorAll("figure input")) slider.hidden = +slider.max === 0;
  }
  function byStep(event) {
    const figure = event.target.closest?.("figure");
    if (!figure || event.target.type !== "range") return;
    figure.querySelectorAll("img").forEach((image, number) => { image.hidden = number !== +event.target.value; });
    const said = `step ${figure.querySelector("img:not([hidden])").dataset.step}`;
    figure.querySelector("output").textContent = said;
    event.target.setAttribute("aria-valuetext", said);
  }
  function byPicture(event) {
    const dialog = $("large");
    if (!dialog) return;
    const image = event.target.closest?.(".picture")?.querySelector("img:not([hidden])");
    if (image) {
      dialog.replaceChildren(image.cloneNode());
      dialog.showModal();
    } else if (dialog.open && dialog.contains(event.target)) dialog.close();
  }
  function steps() { // chosen on the page, where it is not the newest
    return new Map([...document.querySelectorAll("figure input")].filter((slider) => slider.value !== slider.max)
      .map((slider) => [slider.closest("figure").dataset.sheet, slider.closest("figure").querySelector("img:not([hidden])").dataset.step]));
  }
  function backTo(chosen) {
    showSteps();
    for (const slider of document.querySelectorAll("figure input")) {
      const figure = slider.closest("figure"), step = chosen.get(figure.dataset.sheet);
      const place = [...figure.querySelectorAll("img")].findIndex((image) => image.dataset.step === step);
      if (place < 0) continue; // the newest one follows
      slider.value = place;
      byStep({ target: slider });
    }
  }

  function dark() {
    const said = document.documentElement.dataset.theme;
    return said ? said === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function keep(theme) { try { localStorage.setItem("loopwright-theme", theme); } catch { /* a file may keep nothing */ } }
  function kept() { try { return localStorage.getItem("loopwright-theme"); } catch { return null; } }
  function nameTheme() { $("theme").textContent = dark() ? "Light" : "Dark"; }

  function wire() {
    $("metric").addEventListener("change", (event) => { state.metric = event.target.value; draw(); });
    for (const name of ["log", "runs"]) $(name).addEventListener("change", (event) => { state[name] = event.target.checked; draw(); });
    $("smooth").addEventListener("input", (event) => { const t = +event.target.value / 100; state.smooth = Math.min(0.99, t ** 0.4); draw(); });
    host.addEventListener("pointermove", byPointer);
    host.addEventListener("pointerdown", byPointer);
    host.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && clearAt());
    host.addEventListener("keydown", byKey);
    host.addEventListener("blur", clearAt);
    document.addEventListener("pointerover", (event) => {
      const row = event.target.closest?.("tr[data-g], .ends [data-g]");
      if (row) light(+row.dataset.g); else if (!host.contains(event.target) && !event.target.closest?.("#chips")) state.on !== null && light(null);
    });
    document.addEventListener("input", byStep);
    document.addEventListener("click", byPicture);
    $("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      keep(document.documentElement.dataset.theme);
      nameTheme();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
    let wait = 0;
    new ResizeObserver(() => { cancelAnimationFrame(wait); wait = requestAnimationFrame(() => view && host.clientWidth !== view.width && draw()); }).observe(host);
  }

  /* ---- while runs go on: the same page again, the controls as they are ---- */
  async function refresh() {
    const status = $("live");
    try {
      const version = await (await fetch("version", { cache: "no-store" })).text();
      status.classList.remove("gone");
      status.textContent = "live";
      if (version === data.version) return;
      const next = new DOMParser().parseFromString(await (await fetch("./", { cache: "no-store" })).text(), "text/html");
      data = readData(next);
      const chosen = steps();
      for (const node of document.querySelectorAll("[data-live]")) {
        const fresh = next.getElementById(node.id);
        const open = node.querySelector("details")?.open;
        if (fresh) node.replaceChildren(...fresh.childNodes);
        const details = node.querySelector("details");
        if (details && open !== undefined) details.open = open;
      }
      backTo(chosen);
      document.title = next.title;
      fillControls();
      draw();
    } catch {
      status.classList.add("gone");
      status.textContent = "no longer refreshed: the command has ended";
    }
  }

  /* Runs with batches of another size end at another step: of such, epochs are what compares. */
  function firstAxis() {
    const ends = metricNow()?.lines.filter((line) => line.final && line.s.length).map((line) => line.s.at(-1)) || [];
    return Math.max(...ends) > 1.05 * Math.min(...ends) && axes().includes("epoch") ? "epoch" : "step";
  }

  const theme = kept();
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  wire();
  nameTheme();
  showSteps();
  $("theme").hidden = false;
  if (data.metrics.length) {
    for (const node of document.querySelectorAll(".controls")) node.hidden = false;
    state.x = firstAxis();
    fillControls();
    draw();
  }
  document.documentElement.dataset.ready = "1";
  if (data.version) setInterval(refresh, 2000);
})();
