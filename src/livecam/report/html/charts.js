"use strict";
// Curves as inline SVG: one chart per group of series, colors by name so that a method looks the same everywhere.

const SVG = document.querySelector("svg").namespaceURI;
const COLORS = 8;
const SPLIT = /^(train|val|valid|validation|test)[/_](.+)$/;
const BOOKKEEPING = /(^|\/)(epoch|step)$|_seconds(\/|$)|_(n|undefined|degenerate)(\/|$)/;

function html(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

function svg(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function format(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2)
    : Number.isInteger(value) ? String(value) : size >= 100 ? value.toFixed(1) : value.toFixed(size >= 10 ? 2 : 3);
  return text.replace("-", "−");
}

// Where a key is drawn: three parts share the chart of the first two, train/loss and val/loss the chart "loss".
function placeOf(key) {
  const parts = key.split("/");
  if (parts.length > 2) {
    const [chart, title] = [parts.slice(0, -1).join("/"), parts.slice(1, -1).join("/")];
    return { chart, title, prefix: parts[0], name: parts.at(-1) };
  }
  const split = key.match(SPLIT);
  const title = split ? split[2] : key;
  return { chart: title, title, prefix: "", name: split ? split[1] : key };
}

const ranks = new Map();
function rank(family, name) {
  if (!ranks.has(family)) ranks.set(family, new Map());
  const names = ranks.get(family);
  if (!names.has(name)) names.set(name, names.size);
  return names.get(name);
}

function ticks(low, high, wanted, whole) {
  const power = 10 ** Math.floor(Math.log10((high - low) / wanted));
  let gap = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= (high - low) / wanted * 0.999);
  if (whole) gap = Math.max(1, Math.ceil(gap));
  const out = [];
  const last = Math.floor(high / gap + 1e-9);
  for (let i = Math.ceil(low / gap - 1e-9); i <= last; i++) out.push(Number((i * gap).toPrecision(12)));
  return out;
}

// Long series keep the lowest and highest point of every two pixels: spikes stay, the page stays quick.
function thin(points, buckets) {
  if (points.length <= 4 * buckets) return points;
  const out = [];
  const size = Math.ceil(points.length / buckets);
  for (let start = 0; start < points.length; start += size) {
    const bucket = points.slice(start, start + size);
    const finite = bucket.filter((point) => Number.isFinite(point[1]));
    if (!finite.length) { out.push(bucket[0]); continue; }
    const low = finite.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = finite.reduce((a, b) => (b[1] > a[1] ? b : a));
    out.push(...[low, high].sort((a, b) => a[0] - b[0]));
  }
  return out;
}

function nearest(points, step) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1; else high = middle;
  }
  return low && step - points[low - 1][0] < points[low][0] - step ? points[low - 1] : points[low];
}

class Chart {
  constructor(place, momentOf) {
    this.title = place.title;
    this.momentOf = momentOf;
    this.marked = null;
    this.element = html("figure", "chart");
    const caption = html("figcaption");
    const heading = html("h3", "", place.title);
    if (place.prefix) heading.prepend(html("span", "faint", `${place.prefix} / `));
    this.when = html("span", "when faint");
    heading.append(this.when);
    this.legend = html("ul", "legend");
    this.box = html("div", "plot");
    caption.append(heading, this.legend);
    this.element.append(caption, this.box);
    this.box.addEventListener("pointermove", (event) => this.point(event));
    this.box.addEventListener("pointerleave", () => this.read(null));
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  // series: [{name, family, points: [[step, value]]}]
  update(series) {
    this.series = series;
    this.legend.replaceChildren(...series.map((one) => {
      const order = series.length > 1 ? rank(one.family, one.name) : 0;
      one.color = `c${order % COLORS}${order >= COLORS ? " dashed" : ""}`;
      const item = html("li", one.color);
      one.value = html("b");
      if (series.length > 1 || one.name !== this.title) item.append(html("i", "swatch"), html("span", "", one.name));
      item.append(one.value);
      return item;
    }));
    this.draw();
  }

  draw() {
    const width = Math.round(this.box.clientWidth), height = 190;
    if (!width || !this.series) return;
    const points = this.series.flatMap((one) => one.points);
    const finite = points.filter((point) => Number.isFinite(point[1]));
    const lowest = (list, pick) => list.reduce((least, point) => Math.min(least, point[pick]), Infinity);
    const highest = (list, pick) => list.reduce((most, point) => Math.max(most, point[pick]), -Infinity);
    let [x0, x1, y0, y1] = [lowest(points, 0), highest(points, 0), lowest(finite, 1), highest(finite, 1)];
    if (!finite.length) [y0, y1] = [0, 1];
    if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
    const room = (y1 - y0) * 0.06 || Math.abs(y1) * 0.1 || 1;
    // Nothing that is never negative gets an axis that suggests it could be.
    [y0, y1] = [y0 >= 0 ? Math.max(0, y0 - room) : y0 - room, y1 + room];
    const yTicks = ticks(y0, y1, 4), xTicks = ticks(x0, x1, Math.max(2, Math.floor(width / 70)), true);
    const wide = (texts, size) => Math.max(...texts.map((text) => text.length)) * size;
    const names = wide(this.series.map((one) => one.name), 6.9);
    const direct = this.series.length > 1 && this.series.length <= 8 && names <= width * 0.3;
    const left = wide(yTicks.map(tickText), 6.4) + 10, right = width - (direct ? names + 14 : 10);
    const top = 8, bottom = height - 22, middle = { x: (left + right) / 2, "text-anchor": "middle" };
    this.x = (step) => left + (step - x0) / (x1 - x0) * (right - left);
    this.y = (value) => bottom - (value - y0) / (y1 - y0) * (bottom - top);
    const label = this.series.map((one) => `${one.name} ${format(one.points.at(-1)[1])}`).join(", ");
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
    for (const value of yTicks) {
      const y = this.y(value);
      root.append(svg("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
      root.append(svg("text", { class: "tick", x: left - 8, y: y + 3.5, "text-anchor": "end" }, tickText(value)));
    }
    for (const step of xTicks) {
      root.append(svg("text", { ...middle, class: "tick", x: this.x(step), y: height - 5 }, tickText(step)));
    }
    root.append(this.cursor = svg("line", { class: "cursor", y1: top, y2: bottom }));
    root.append(this.marker = svg("line", { class: "marker", y1: top, y2: bottom }));
    for (const one of this.series) {
      root.append(svg("path", { class: `line ${one.color}`, d: this.path(thin(one.points, (right - left) / 2)) }));
      root.append(one.dot = svg("circle", { class: `dot ${one.color}`, r: 3.5 }));
    }
    if (direct) this.endLabels(root, right + 8, bottom);
    if (!finite.length) root.append(svg("text", { ...middle, class: "tick", y: height / 2 }, "no finite value"));
    this.box.replaceChildren(root);
    this.mark(this.marked);
    this.read(null);
  }

  // A lone point between gaps is a line of no length, which its round ends turn into a dot.
  path(points) {
    let path = "", pen = false;
    for (const [step, value] of points) {
      const shown = Number.isFinite(value);
      if (shown) path += `${pen ? "L" : "M"}${this.x(step).toFixed(1)} ${this.y(value).toFixed(1)}${pen ? "" : "h0"}`;
      pen = shown;
    }
    return path;
  }

  // Names at the ends of the lines, pushed apart downwards, then back up from the bottom.
  endLabels(root, x, bottom) {
    const ends = [];
    for (const one of this.series) {
      const last = one.points.findLast((point) => Number.isFinite(point[1]));
      if (last) ends.push({ one, y: this.y(last[1]) + 3.5 });
    }
    ends.sort((a, b) => a.y - b.y);
    ends.forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + 12.5); });
    ends.reverse().forEach((end, i) => { end.y = Math.min(end.y, i ? ends[i - 1].y - 12.5 : bottom + 4); });
    for (const { one, y } of ends) root.append(svg("text", { class: `end ${one.color}`, x, y }, one.name));
  }

  mark(step) {
    this.marked = step;
    if (this.marker) place(this.marker, step !== null, this.x(step ?? 0));
  }

  point(event) {
    if (!this.x) return;
    const at = event.clientX - this.box.getBoundingClientRect().left;
    const step = (at - this.x(0)) / (this.x(1) - this.x(0));
    const near = this.series.map((one) => nearest(one.points, step)[0]);
    this.read(near.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a)));
  }

  read(step) {
    if (!this.cursor) return;
    this.when.textContent = step === null ? "" : this.momentOf(step);
    place(this.cursor, step !== null, this.x(step ?? 0));
    for (const one of this.series) {
      const [at, value] = step === null ? one.points.at(-1) : nearest(one.points, step);
      one.value.textContent = format(value);
      one.dot.toggleAttribute("hidden", step === null || !Number.isFinite(value));
      if (Number.isFinite(value)) { one.dot.setAttribute("cx", this.x(at)); one.dot.setAttribute("cy", this.y(value)); }
    }
  }
}

function tickText(value) {
  const notation = Math.abs(value) >= 1e4 ? "compact" : "standard";
  return value.toLocaleString("en", { maximumSignificantDigits: 6, notation }).replace("-", "−");
}

function place(line, shown, x) {
  line.toggleAttribute("hidden", !shown);
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}
