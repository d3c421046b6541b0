"use strict";
// All text of a run is set as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const numbers = Object.keys(data.networks);
const dark = matchMedia("(prefers-color-scheme: dark)");

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// `stdc-search watch` adds the state of the run; then the page follows it, and keeps what was selected when it loads again.
const made = document.querySelector('meta[name="state"]')?.content;
const served = made !== undefined;
const remember = (name, value) => served && sessionStorage.setItem(name, value);
const remembered = (name) => (served ? sessionStorage.getItem(name) : null);

function follow() {
  const timer = setInterval(async () => {
    try {
      if ((await (await fetch("state")).text()) !== made) location.reload();
    } catch { // the server has ended
      clearInterval(timer);
    }
  }, 5000);
}

const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const shown = (value) => (value === null || value === undefined ? "" : typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 6, useGrouping: false }) : String(value));

// Pictures

function themed(layout) {
  const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--line"), automargin: true };
  const made = {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 60, r: 16, t: 16, b: 50 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", ...layout.legend },
    hoverlabel: { bgcolor: colour("--card"), font: { color: colour("--ink") } },
  };
  for (const name of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) made[name] = { ...axis, ...layout[name] };
  return made;
}

function draw(place, figure) {
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  const narrow = innerWidth < 640; // names of dots would cover one another
  const traces = narrow ? figure.data.map((trace) => ({ ...trace, mode: trace.mode?.replace("+text", "") })) : figure.data;
  return Plotly.react(place, traces, themed(figure.layout), options);
}

const drawn = new Map();

function drawAll() {
  for (const [place, figure] of drawn) if (place.isConnected) draw(place, figure);
}

async function picture(id) {
  const figure = data.figures[id];
  if (!figure) {
    for (const part of document.querySelectorAll(`[data-needs="${id}"]`)) part.remove();
    return;
  }
  const place = byId(id);
  drawn.set(place, figure);
  await draw(place, figure);
  place.on("plotly_click", (event) => {
    const number = event.points[0].customdata;
    if (number !== undefined) select(String(number), true);
  });
}

// Tables

function table(columns, rows, pick) {
  const numeric = columns.map((_, i) => rows.some((row) => typeof row[i] === "number") && rows.every((row) => row[i] === null || typeof row[i] === "number"));
  const body = element("tbody");
  let sorted = [...rows];
  function fill() {
    body.replaceChildren(...sorted.map((row) => {
      const cells = row.map((value, i) => {
        const number = i === 0 && pick ? String(Number(value)) : null;
        const content = number in data.networks ? element("button", { type: "button", onclick: () => select(number, true) }, shown(value)) : shown(value);
        return element("td", numeric[i] ? { class: "number" } : {}, content);
      });
      return element("tr", pick ? { "data-network": String(Number(row[0])) } : {}, ...cells);
    }));
  }
  function sort(place, header) {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    const empty = (value) => value === null || value === "";
    sorted.sort((a, b) => (empty(a[place]) || empty(b[place]) ? empty(a[place]) - empty(b[place]) : (down ? -1 : 1) * order(a[place], b[place])));
    fill();
  }
  const heads = columns.map((title, i) => {
    const header = element("th", { scope: "col", ...(numeric[i] ? { class: "number" } : {}) });
    header.append(element("button", { type: "button", onclick: () => sort(i, header) }, title || "–"));
    return header;
  });
  fill();
  return element("div", { class: "scroll", tabindex: "0" }, element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
}

// One network

function copied(text) {
  const button = element("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // a page from disk may not use the clipboard in every browser
      const area = element("textarea", {}, text);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

function bars(rows) {
  const most = Math.max(...rows.map((row) => row[1]), 1e-9);
  return element("div", { class: "bars" }, ...rows.flatMap(([name, value, text]) => {
    const bar = element("i");
    bar.style.width = `${(100 * Math.max(value, 0)) / most}%`;
    return [element("span", {}, name), element("span", { class: "wide" }, bar), element("span", { class: "quiet" }, text)];
  }));
}

function share(parts, name, digits, unit) {
  const total = parts.reduce((sum, part) => sum + part[name], 0);
  return bars(parts.map((part) => {
    const text = `${(part[name] / (unit === "M" ? 1e6 : 1)).toFixed(digits)} ${unit} · ${((100 * part[name]) / (total || 1)).toFixed(0)} %`;
    return [`${part.name} · ${part.kind} → ${part.output}`, part[name], text];
  }));
}

function curves(found) {
  const place = element("div", { class: "plot" });
  const scored = found.some((curve) => curve.score.some((value) => value !== null));
  const colours = { finals: "#b8860b", search: "#0b6e99" };
  const seen = new Set();
  const line = (what, curve, y, more) => {
    const name = `${what}, ${curve.where}`; // one entry of the legend for all seeds
    const first = !seen.has(name);
    seen.add(name);
    const words = curve.epochs.map((epoch, i) => `${name}, seed ${curve.seed}<br>epoch ${epoch}: ${shown(y[i])}`);
    return { name, legendgroup: name, showlegend: first, x: curve.epochs, y, hovertext: words, hoverinfo: "text", line: { color: colours[curve.where], width: 1.5, ...more.line }, ...more.trace };
  };
  const traces = found.flatMap((curve) => [
    line("loss", curve, curve.loss, { trace: { mode: "lines" } }),
    ...(curve.score.some((value) => value !== null) ? [line("score", curve, curve.score, { line: { dash: "dot" }, trace: { mode: "lines+markers", connectgaps: true, yaxis: "y2" } })] : []),
  ]);
  const layout = { xaxis: { title: { text: "epoch" }, dtick: Math.ceil(Math.max(...found.flatMap((curve) => curve.epochs)) / 10) }, yaxis: { title: { text: "training loss" } } };
  if (scored) layout.yaxis2 = { title: { text: "score, %" }, overlaying: "y", side: "right", showgrid: false };
  drawn.set(place, { data: traces, layout });
  requestAnimationFrame(() => place.isConnected && draw(place, drawn.get(place)));
  return place;
}

function part(title, ...content) {
  return element("div", {}, element("h3", {}, title), ...content);
}

function select(number, move = false) {
  const network = data.networks[number];
  if (!network) {
    // Only the most interesting networks are described in full; the table of candidates has the others.
    byId("filter").value = data.candidates.rows.find((row) => String(row[0]) === number)[1];
    byId("state").value = "";
    filter();
    byId("candidates-section").scrollIntoView({ behavior: "smooth" });
    return;
  }
  byId("network").value = number;
  remember("network", number);
  for (const place of drawn.keys()) if (!place.isConnected) drawn.delete(place);
  for (const row of document.querySelectorAll("tr[data-network]")) row.classList.toggle("selected", row.dataset.network === number);
  const values = Object.entries(network.values).map(([name, value]) => [name, shown(value)]);
  const left = element("div", {}, part("Figures", table(network.facts.columns, network.facts.rows)));
  if (values.length) left.append(part("What varies", table(["parameter", "value"], values)));
  const right = element("div");
  if (Object.keys(network.commands).length) {
    left.append(part("What to do with it", ...Object.entries(network.commands).map(([name, text]) => element("div", { class: "command" }, element("span", { class: "quiet" }, name), element("pre", { tabindex: "0" }, text), copied(text)))));
  }
  if (network.parts.length) {
    right.append(part("Multiply-adds of each part", share(network.parts, "macs", 1, "M")));
    if (network.parts.every((one) => one.ms !== null)) right.append(part("Predicted time of each part", share(network.parts, "ms", 2, "ms")));
  }
  if (Object.keys(network.ious).length) {
    left.append(part("IoU of each class", bars(Object.entries(network.ious).map(([name, value]) => [name, value, `${value.toFixed(1)} %`]))));
  }
  if (network.curves.length) right.append(part("Learning curves", curves(network.curves)));
  const below = [];
  if (network.samples.length) {
    const names = { image: "photo", truth: "truth", prediction: "prediction" };
    const pictures = (samples) => element("div", { class: "samples" }, ...samples.flatMap((sample) => [...sample.about ? [element("p", { class: "quiet" }, sample.about)] : [], ...Object.entries(names).map(([key, words]) => element("img", { src: data.pictures[sample[key]], alt: `${words}, validation image ${sample.image}` }))]));
    const legend = element("p", { class: "legend" }, ...data.colours.map(([name, rgb]) => {
      const swatch = element("i");
      if (rgb) swatch.style.background = `rgb(${rgb.join(",")})`;
      return element("span", {}, swatch, name);
    }));
    below.push(part("Validation images: photo, truth, prediction", legend, pictures(network.samples)));
    if (network.worst.length) below.push(part("Images with the lowest mIoU: photo, truth, prediction", pictures(network.worst)));
  }
  if (network.spec) below.push(part("Spec", element("p", {}, copied(network.spec)), element("pre", { tabindex: "0" }, network.spec)));
  byId("details").replaceChildren(element("div", { class: "grid" }, left, right), ...below);
  if (move) byId("network-section").scrollIntoView({ behavior: "smooth" });
}

// Candidates

function filter() {
  const text = byId("filter").value.trim().toLowerCase();
  const words = text.split(/\s+/);
  const state = byId("state").value;
  const found = data.candidates.rows.filter((row) => (!state || row[2] === state) && words.every((word) => row.some((cell) => String(cell ?? "").toLowerCase().includes(word))));
  const named = found.filter((row) => row[1].toLowerCase() === text); // a whole name, such as 0004, is that candidate
  const rows = named.length ? named : found;
  byId("count").textContent = `${rows.length} of ${data.candidates.rows.length}`;
  byId("candidates").replaceChildren(table(data.candidates.columns, rows, true));
}

function start() {
  for (const number of numbers) byId("network").append(element("option", { value: number }, data.networks[number].name));
  byId("network").addEventListener("change", (event) => select(event.target.value));
  for (const found of data.tables) byId("tables").append(part(found.title, table(found.columns, found.rows, found.columns[0] === "network")));
  const states = [...new Set(data.candidates.rows.map((row) => row[2]))].sort();
  byId("state").append(element("option", { value: "" }, "all"), ...states.map((state) => element("option", { value: state }, state)));
  byId("filter").addEventListener("input", filter);
  byId("state").addEventListener("change", filter);
  if (data.rejections.length) byId("rejections").append(part("Not completed", table(["how it ended", "reason", "candidates", "examples"], data.rejections.map(([state, reason, count, some]) => [state, reason, count, some.join(", ")]))));
  byId("lead").textContent = data.lead;
  for (const { title, lines } of data.notes) byId("notes").append(part(title, element("ul", {}, ...lines.map((line) => element("li", {}, line)))));
  for (const machine of data.machines) byId("machines").append(part("Machine", table(["what", "value"], Object.entries(machine).map(([name, value]) => [name, shown(value)]))));
  const wanted = [remembered("network"), String(data.best), numbers[0]].find((number) => number in data.networks);
  if (wanted !== undefined) select(wanted);
  else byId("network-section").remove();
}

start();
picture("front").then(() => ["volume", "agreement", "importances"].forEach(picture)).then(() => setTimeout(filter));
dark.addEventListener("change", drawAll);
if (served) follow();
