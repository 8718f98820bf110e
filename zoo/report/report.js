"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const tip = document.getElementById("tip");
  const said = document.getElementById("said");

  // Theme: the system's until the button is pressed.
  const theme = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.setAttribute("aria-label", "Switch between light and dark");
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  prefersDark.addEventListener("change", nameTheme);
  theme.hidden = false;
  nameTheme();

  // One figure of the leaderboard at a time; without this script all stand below one another.
  const choices = document.querySelector(".choices");
  const show = (metric) => {
    for (const board of all(".board")) board.classList.toggle("away", board.dataset.metric !== metric);
    for (const button of all("button", choices)) button.setAttribute("aria-pressed", String(button.dataset.shows === metric));
  };
  choices.hidden = false;
  root.classList.add("chosen");
  choices.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) show(button.dataset.shows);
  });
  show(choices.querySelector("button").dataset.shows);

  // Tables that are wider than their place say so.
  const wide = new ResizeObserver((changed) => {
    for (const { target } of changed) target.toggleAttribute("data-more", target.scrollWidth > target.clientWidth + 1);
  });
  all(".scroll").forEach((each) => wide.observe(each));

  // Tables: a click on a column sorts, a second one turns it round; what is undefined stays last.
  const words = new Intl.Collator(undefined, { numeric: true });
  const compare = (a, b) => {
    const numeric = [Number(a), Number(b)];
    return numeric.some(Number.isNaN) ? words.compare(a, b) : numeric[0] - numeric[1];
  };
  const sort = (head) => {
    const opposite = { ascending: "descending", descending: "ascending" };
    const order = opposite[head.ariaSort] || head.dataset.first;
    const sign = order === "ascending" ? 1 : -1;
    const column = head.cellIndex;
    const body = head.closest("table").tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    // A row's parts follow it wherever it goes.
    const groups = [];
    for (const row of body.rows) {
      if (row.classList.contains("part") && groups.length) groups.at(-1).push(row);
      else groups.push([row]);
    }
    groups.sort(([one], [other]) => {
      const [a, b] = [value(one), value(other)];
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * compare(a, b);
    });
    body.append(...groups.flat());
    for (const each of head.parentElement.cells) each.ariaSort = each === head ? order : "none";
  };
  for (const button of all(".sortable thead button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // The comparison of each bin, under that of all bins.
  for (const button of all("[data-unfolds]")) {
    const fold = (folded) => {
      for (const parts of all(button.dataset.unfolds)) parts.classList.toggle("folded", folded);
      button.setAttribute("aria-pressed", String(!folded));
    };
    button.hidden = false;
    button.addEventListener("click", () => fold(button.getAttribute("aria-pressed") === "true"));
    fold(true);
  }

  // The legend takes a model out of every chart and list.
  for (const button of all("[data-toggles]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const each of all(`[data-model="${button.dataset.toggles}"]`)) each.classList.toggle("gone", !shown);
    });
  }

  // Charts: a cursor by pointer or arrow keys, and a table of what lies there.
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const rate = (value) => `${Number((100 * value).toPrecision(3))} %`;
  const cosine = (value) => value.toFixed(4).replace("-", "−");
  const table = (heading, header, rows) => {
    const made = element("table");
    const head = made.createTHead().insertRow();
    for (const [i, text] of header.entries()) head.append(element("th", text, i ? "" : "name"));
    const body = made.createTBody();
    for (const { cells, near } of rows) {
      const row = body.insertRow();
      row.className = near ? "near" : "";
      for (const [i, text] of cells.entries()) row.append(element("td", text, i ? "" : "name"));
    }
    tip.replaceChildren(element("p", heading), made);
  };
  const vertices = new WeakMap();
  const points = (path) => {
    if (!vertices.has(path)) {
      const numbers = path.getAttribute("d").match(/-?[\d.]+/g).map(Number);
      vertices.set(path, numbers.reduce((made, each, i) => { (i % 2 ? made.y : made.x).push(each); return made; }, { x: [], y: [] }));
    }
    return vertices.get(path);
  };
  // Along a curve x falls, so the first vertex not right of the cursor is the largest FMR allowed.
  const firstAtMost = (descending, limit) => {
    let low = 0, high = descending.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (descending[middle] <= limit) high = middle; else low = middle + 1;
    }
    return low;
  };
  const mark = (svg, curve, x, y) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    made.setAttribute("class", `mark s${curve.slot}`);
    made.setAttribute("cx", x); made.setAttribute("cy", y); made.setAttribute("r", 4.5);
    svg.querySelector(".marks").append(made);
  };
  const showCurves = (svg, chart, x, y) => {
    svg.querySelector(".marks").replaceChildren();
    const rows = [];
    for (const path of all("path[data-curve]", svg)) {
      path.classList.remove("near");
      if (path.classList.contains("gone")) continue;
      const at = points(path), curve = chart.curves[path.dataset.curve];
      const i = firstAtMost(at.x, x + 0.05);
      if (at.x[i] > x + 0.05) {
        rows.push({ path, distance: Infinity, cells: [curve.model, "–", "–", "–"] });
        continue;
      }
      mark(svg, curve, at.x[i], at.y[i]);
      rows.push({ path, distance: Math.abs(at.y[i] - y), cells: [curve.model, rate(curve.fmr[i]), rate(curve.fnmr[i]), cosine(curve.threshold[i])] });
    }
    if (!rows.length) return "";
    const nearest = rows.reduce((best, row) => (row.distance < best.distance ? row : best));
    nearest.near = true;
    nearest.path.classList.add("near");
    table("Operating points", ["model", ...chart.rates, "threshold"], rows);
    const [model, fmr, fnmr, threshold] = nearest.cells;
    return `${model}: ${chart.rates[0]} ${fmr}, ${chart.rates[1]} ${fnmr}, threshold ${threshold}`;
  };
  const showHistogram = (svg, chart, x) => {
    const count = chart.genuine.length;
    const i = Math.min(count - 1, Math.max(0, Math.floor((x - chart.left) / (chart.right - chart.left) * count)));
    const heading = `score ${chart.edges[i].toFixed(3)} to ${chart.edges[i + 1].toFixed(3)}`;
    const row = (name) => {
      const total = chart[name].reduce((sum, each) => sum + each, 0);
      return { cells: [name, String(chart[name][i]), total ? rate(chart[name][i] / total) : "–"] };
    };
    const rows = [row("genuine"), row("impostor")];
    table(heading, ["", "pairs", "share"], rows);
    return `${heading}: ${rows.map((each) => each.cells.join(" ")).join(", ")}`;
  };
  const hide = (svg) => {
    svg.classList.remove("active");
    svg.querySelector(".marks")?.replaceChildren();
    for (const path of all(".near", svg)) path.classList.remove("near");
    tip.hidden = true;
  };
  const place = (box, x, y) => {
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    let left = box.left + x + 16;
    if (left + width > room - 8) left = box.left + x - width - 16;
    let top = box.top + y - height - 12;
    if (top < 4) top = box.top + y + 20;
    tip.style.left = `${Math.max(8, Math.min(left, room - width - 8)) + scrollX}px`;
    tip.style.top = `${top + scrollY}px`;
  };
  for (const plot of all("[data-chart]")) {
    const svg = plot.querySelector("svg"), chart = charts[plot.dataset.chart];
    const { width: unitsWide, height: unitsHigh } = svg.viewBox.baseVal;
    let cursor = (chart.left + chart.right) / 2;
    const show = (x, y) => {
      cursor = Math.min(chart.right, Math.max(chart.left, x));
      svg.querySelector(".cursor").setAttribute("transform", `translate(${cursor} 0)`);
      const words = chart.kind === "curves" ? showCurves(svg, chart, cursor, y) : showHistogram(svg, chart, cursor);
      if (!words) { hide(svg); return ""; }
      svg.classList.add("active");
      const box = svg.getBoundingClientRect();
      place(box, cursor / unitsWide * box.width, y / unitsHigh * box.height);
      return words;
    };
    const follow = (event) => {
      const box = svg.getBoundingClientRect();
      show((event.clientX - box.left) / box.width * unitsWide, (event.clientY - box.top) / box.height * unitsHigh);
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", () => hide(svg));
    svg.addEventListener("blur", () => hide(svg));
    svg.addEventListener("keydown", (event) => {
      const step = (chart.right - chart.left) / 48;
      const moves = { ArrowLeft: cursor - step, ArrowRight: cursor + step, Home: chart.left, End: chart.right };
      if (event.key === "Escape") hide(svg);
      if (!(event.key in moves)) return;
      event.preventDefault();
      said.textContent = show(moves[event.key], unitsHigh / 2);
    });
  }

  // Paper cannot be unfolded.
  addEventListener("beforeprint", () => { for (const each of all("details")) each.open = true; });
})();
