// The page: reads data.js again and again while the run goes on, and keeps the reader's place.

const byId = (id) => document.getElementById(id);
const sections = { charts: new Map(), galleries: new Map(), seen: new Map() };
let data = null;
let steps = [];      // steps of all galleries, ascending
let current = null;  // step of the pictures on screen
let wanted = null;   // step whose pictures are being loaded
let playing = false;
let enlarged = null;

// ---- time -------------------------------------------------------------------------------------------------------

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

// Epochs count from one, as step 0 is epoch zero; a row at the very step of a picture belongs to the next batch.
function epochOf(step) {
  const series = data.metrics.find((one) => one.key === "epoch");
  const row = series ? series.steps.findLastIndex((at) => at < step) : -1;
  return row < 0 ? null : Number(series.values[row]) + 1;
}

function momentOf(step) {
  if (step === 0) return "untrained net";
  const epoch = epochOf(step);
  return epoch === null ? `step ${step}` : `epoch ${epoch} · step ${step}`;
}

function showHeader() {
  const quiet = Date.now() / 1000 - data.updated;
  const silent = data.status === "running" && quiet > 600;
  const status = byId("status");
  status.className = `status ${silent ? "silent" : data.status}`;
  status.textContent = silent ? `no news for ${span(quiet)}: long validation, or killed` : data.status;
  const elapsed = data.elapsed + (data.status === "running" && !silent ? quiet : 0);
  const updated = new Date(data.updated * 1000);
  const sameDay = updated.toDateString() === new Date().toDateString();
  // Lightning logs numbers at the batch just done and pictures at the one to come: the higher is the truth.
  const ahead = data.galleries.some((gallery) => gallery.entries.at(-1).step === data.step + 1);
  const step = data.step + (ahead ? 1 : 0);
  const day = sameDay ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
  const facts = [
    ["epoch", data.step < 0 ? "–" : epochOf(data.step + 1) ?? "–"],
    ["step", step < 0 ? "–" : step.toLocaleString("en")],
    ["elapsed", span(elapsed)],
    ["updated", updated.toLocaleString("en-GB", day)],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value]) => {
    const fact = html("div");
    fact.append(html("dt", "", name), html("dd", "", String(value)));
    return fact;
  }));
}

// ---- pictures ---------------------------------------------------------------------------------------------------

const entryAt = (gallery, step) => gallery.entries.findLast((entry) => entry.step <= step) ?? gallery.entries[0];

function buildGallery(gallery) {
  const element = html("div", "gallery");
  const heading = html("h2", "", gallery.key.split("/").join(" / "));
  const grid = html("div", "strips");
  element.append(heading, grid);
  byId("galleries").append(element);
  return { element, heading, grid, figures: [] };
}

function buildFigure(key, index) {
  const figure = html("figure", "strip");
  const button = html("button");
  Object.assign(button, { type: "button", title: "Enlarge" });
  button.addEventListener("click", () => enlarge(key, index));
  figure.append(button, html("figcaption"));
  return figure;
}

function fill(img, picture) {
  const { width, height, caption } = picture;
  Object.assign(img, { decoding: "sync", alt: caption || "explanation", width, height });
  const source = sourceOf(picture);
  if (img.getAttribute("src") !== source) img.src = source;
  return img;
}

// The checksum keeps the browser from remembering a picture that was replaced under its name.
const sourceOf = (picture) => `${picture.file}?${picture.check}`;
const picturesAt = (step) => data.galleries.flatMap((gallery) => entryAt(gallery, step).images);
const loaded = new Map();

function load(picture) {
  const source = sourceOf(picture);
  if (!loaded.has(source)) loaded.set(source, fill(new Image(), picture));
  return loaded.get(source);
}

const preload = (step) => Promise.allSettled(picturesAt(step).map((picture) => load(picture).decode()));

// Only the pictures on screen and those that come next stay in memory.
function forget(kept) {
  const sources = new Set(kept.flatMap(picturesAt).map(sourceOf));
  for (const source of loaded.keys()) if (!sources.has(source)) loaded.delete(source);
}

// All pictures change together, once the last of them is there; only the first time their frames come before them.
async function show(step) {
  wanted = step;
  byId("slider").value = steps.indexOf(step);
  byId("moment").textContent = momentOf(step);
  byId("count").textContent = `${steps.indexOf(step) + 1} / ${steps.length}`;
  if (current !== null) await preload(step);
  if (wanted !== step) return;
  current = step;
  for (const gallery of data.galleries) {
    const view = sections.galleries.get(gallery.key) ?? buildGallery(gallery);
    sections.galleries.set(gallery.key, view);
    const { images, step: own } = entryAt(gallery, step);
    view.heading.title = own === step ? "" : `pictures of ${momentOf(own)}`;
    view.grid.classList.toggle("wide", images.some(({ width, height }) => width > 2.5 * height || width > 900));
    while (view.figures.length < images.length) view.figures.push(buildFigure(gallery.key, view.figures.length));
    const shown = view.figures.slice(0, images.length);
    if (view.grid.childElementCount !== shown.length) view.grid.replaceChildren(...shown);
    images.forEach((picture, i) => {
      const [button, caption] = shown[i].children;
      if (button.firstChild !== load(picture)) button.replaceChildren(load(picture));
      caption.textContent = picture.caption;
    });
  }
  if (enlarged) showLarge();
  for (const chart of sections.charts.values()) chart.mark(step);
  const next = steps[steps.indexOf(step) + 1] ?? step;
  forget([step, next]);
  preload(next);
}

function move(by) {
  const index = Math.min(steps.length - 1, Math.max(0, steps.indexOf(wanted) + by));
  return steps.length ? show(steps[index]) : null;
}

async function play(on) {
  if (on && !playing && steps.length > 1) {
    playing = true;
    byId("player").classList.add("playing");
    byId("play").setAttribute("aria-label", "Pause");
    if (wanted === steps.at(-1)) await show(steps[0]);
    while (playing && wanted !== steps.at(-1)) {
      await new Promise((resolve) => setTimeout(resolve, 650));
      if (playing) await move(1);
    }
    on = false;
  }
  if (!on) {
    playing = false;
    byId("player").classList.remove("playing");
    byId("play").setAttribute("aria-label", "Play");
  }
}

function showLarge() {
  const gallery = data.galleries.find((one) => one.key === enlarged.key);
  const picture = entryAt(gallery, current).images[enlarged.index];
  if (!picture) return;
  fill(byId("large").querySelector("img"), picture);
  byId("large").querySelector("p").textContent = [momentOf(current), picture.caption].filter(Boolean).join("\n");
}

function enlarge(key, index) {
  enlarged = { key, index };
  showLarge();
  byId("large").showModal();
}

function updatePictures() {
  const following = wanted === null || wanted === steps.at(-1);
  const all = data.galleries.flatMap((gallery) => gallery.entries.map((entry) => entry.step));
  steps = [...new Set(all)].sort((a, b) => a - b);
  byId("pictures").classList.toggle("empty", !steps.length);
  byId("player").hidden = !steps.length;
  byId("slider").max = Math.max(0, steps.length - 1);
  if (steps.length) show(following && !playing || !steps.includes(wanted) ? steps.at(-1) : wanted);
}

// ---- curves, tables, settings -----------------------------------------------------------------------------------

function updateCurves() {
  const groups = new Map();
  for (const one of data.metrics) {
    const spot = placeOf(one.key);
    const id = JSON.stringify([spot.chart, spot.prefix]);
    if (!groups.has(id)) groups.set(id, { spot, more: BOOKKEEPING.test(one.key), series: [] });
    groups.get(id).series.push({
      name: spot.name,
      family: spot.prefix ? "method" : "split",
      points: one.steps.map((step, i) => [step, Number(one.values[i])]),
    });
  }
  const more = byId("more").querySelector(".charts");
  for (const [id, group] of groups) {
    if (!sections.charts.has(id)) {
      const chart = new Chart(group.spot, momentOf);
      chart.mark(current);
      sections.charts.set(id, chart);
      (group.more ? more : byId("charts")).append(chart.element);
    }
    sections.charts.get(id).update(group.series);
  }
  byId("curves").classList.toggle("empty", !groups.size);
  byId("more").hidden = !more.childElementCount;
}

function buildTable({ key, columns, rows }) {
  const frame = html("div", "table");
  const table = html("table");
  const isNumber = (cell) => cell === null || typeof cell === "number" || cell === "NaN";
  const kind = columns.map((_, i) => (rows.every((row) => isNumber(row[i])) ? "number" : ""));
  const text = (cell) => (cell === null ? "–" : typeof cell === "number" ? format(cell) : String(cell));
  const head = html("tr");
  columns.forEach((column, i) => head.append(html("th", kind[i], column)));
  table.createTHead().append(head);
  const body = table.createTBody();
  for (const row of rows) {
    const line = html("tr");
    row.forEach((cell, i) => line.append(html("td", kind[i], text(cell))));
    body.append(line);
  }
  frame.append(table);
  return [html("h2", "", key.split("/").join(" / ")), frame];
}

function buildTree(pairs) {
  const list = html("dl");
  for (const [name, value] of pairs) {
    const nested = Array.isArray(value);
    const entry = html("div", nested ? "branch" : "");
    const content = html("dd", value === null ? "faint" : "", nested ? "" : String(value));
    if (nested) content.append(value.length ? buildTree(value) : html("span", "faint", "empty"));
    entry.append(html("dt", "", name), content);
    list.append(entry);
  }
  return list;
}

// Rebuilt only when changed, so that a selection or a scroll position survives.
function updateStill(id, part, build) {
  const text = JSON.stringify(part);
  byId(id).hidden = !part.length;
  if (sections.seen.get(id) !== text) build();
  sections.seen.set(id, text);
}

// ---- reading ----------------------------------------------------------------------------------------------------

function update() {
  showHeader();
  updatePictures();
  updateCurves();
  updateStill("tables", data.tables, () => byId("tables").replaceChildren(...data.tables.flatMap(buildTable)));
  const tree = byId("settings").querySelector(".tree");
  updateStill("settings", data.config, () => tree.replaceChildren(buildTree(data.config)));
}

// A page opened from disk may not fetch, but it may load a script; the query keeps the browser from remembering it.
function read() {
  const script = document.createElement("script");
  script.src = `data.js?${Date.now()}`;
  script.onload = script.onerror = () => {
    script.remove();
    if (window.LIVECAM && window.LIVECAM.updated !== data?.updated) {
      data = window.LIVECAM;
      update();
    }
    if (!data) byId("status").textContent = "waiting for data.js";
  };
  document.head.append(script);
}

byId("slider").addEventListener("input", (event) => { play(false); show(steps[event.target.value]); });
byId("play").addEventListener("click", () => play(!playing));
byId("large").addEventListener("click", (event) => { if (event.target.tagName !== "P") byId("large").close(); });
byId("large").addEventListener("close", () => { enlarged = null; });
document.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const toggles = event.key === " " && !event.target.closest("button, summary");
  if (!steps.length || !(event.key in moves || toggles)) return;
  event.preventDefault();
  if (toggles) play(!playing);
  else { play(false); move(moves[event.key]); }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) read(); });
setInterval(() => { if (!document.hidden && (data?.status ?? "running") === "running") read(); }, 2000);
setInterval(() => { if (data?.status === "running") showHeader(); }, 1000);
read();
