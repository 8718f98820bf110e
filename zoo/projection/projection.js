"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector) => [...document.querySelectorAll(selector)];
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const said = document.getElementById("said");
  const face = document.getElementById("face");
  const chooser = document.getElementById("person");
  const sprites = document.getElementById("sprites").src;
  const STEPS = 9999, MARGIN = 12, REACH = 18;

  const counts = new Array(data.names.length).fill(0);
  for (const person of data.people) counts[person] += 1;
  // The golden angle: neighbours in number lie far apart in hue, however many people there are.
  const hue = (person) => (person * 137.508 + 20) % 360;

  let map = document.querySelector("[data-map]").dataset.map;  // JSON has them by name
  let kept = null, under = null;
  const maps = all(".map").map((canvas) => ({ canvas, space: Number(canvas.dataset.space), x: [], y: [] }));

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const color = (person, dark) => (counts[person] > 1
    ? `oklch(${dark ? 0.76 : 0.56} 0.15 ${hue(person)})` : (dark ? "#6c747f" : "#a3aab2"));

  const draw = (each) => {
    const { canvas } = each;
    const side = canvas.clientWidth, ratio = devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const dark = isDark(), places = data.maps[map][each.space];
    const scale = (side - 2 * MARGIN) / STEPS;
    each.x = places.map(([x]) => MARGIN + x * scale);
    each.y = places.map(([, y]) => side - MARGIN - y * scale);
    const chosen = under === null ? kept : data.people[under];
    const radius = Math.max(1.8, Math.min(4, side / 9 / Math.sqrt(places.length)));
    const dot = (i, size) => {
      pen.beginPath();
      pen.arc(each.x[i], each.y[i], size, 0, 2 * Math.PI);
      pen.fill();
    };
    for (const [i, person] of data.people.entries()) {
      if (person === chosen) continue;
      pen.globalAlpha = chosen === null ? 0.85 : 0.16;
      pen.fillStyle = color(person, dark);
      dot(i, radius);
    }
    pen.globalAlpha = 1;
    if (chosen === null) return;
    pen.fillStyle = color(chosen, dark);
    // Few images are made large; many would only hide one another.
    const size = radius + (counts[chosen] > 40 ? 0.6 : 2);
    for (const [i, person] of data.people.entries()) if (person === chosen) dot(i, size);
    if (under === null) return;
    dot(under, size + 2);
    pen.strokeStyle = dark ? "#e7e9ec" : "#1c2024";
    pen.lineWidth = 2;
    pen.stroke();
  };
  const redraw = () => maps.forEach(draw);

  const showFace = (i) => {
    const shown = 96, scale = shown / data.cell;
    face.style.backgroundImage = `url(${sprites})`;
    face.style.backgroundSize = `${data.columns * data.cell * scale}px auto`;
    face.style.backgroundPosition = `-${(i % data.columns) * shown}px -${Math.floor(i / data.columns) * shown}px`;
    const person = data.people[i], name = data.names[person];
    const images = counts[person] === 1 ? "1 image" : `${counts[person]} images`;
    tip.querySelector("p").textContent = name;
    tip.querySelector("small").textContent = `${data.origins[i]}, ${images}`;
    face.setAttribute("aria-label", name);
    return `${name}, ${data.origins[i]}, ${images}`;
  };
  const place = (each, i) => {
    const box = each.canvas.getBoundingClientRect();
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const room = root.clientWidth;
    let left = box.left + each.x[i] + 16;
    if (left + width > room - 8) left = box.left + each.x[i] - width - 16;
    let top = box.top + each.y[i] - height - 12;
    if (top < 4) top = box.top + each.y[i] + 20;
    tip.style.left = `${Math.max(8, Math.min(left, room - width - 8)) + scrollX}px`;
    tip.style.top = `${top + scrollY}px`;
  };
  const nearest = (each, x, y) => {
    let best = null, least = REACH * REACH;
    for (let i = 0; i < each.x.length; i += 1) {
      if (kept !== null && data.people[i] !== kept) continue;
      const distance = (each.x[i] - x) ** 2 + (each.y[i] - y) ** 2;
      if (distance < least) { least = distance; best = i; }
    }
    return best;
  };
  const hover = (each, i) => {
    if (i === null) { if (under !== null) { under = null; tip.hidden = true; redraw(); } return ""; }
    under = i;
    redraw();
    const words = showFace(i);
    place(each, i);
    return words;
  };
  const keep = (person) => {
    kept = person;
    chooser.value = person === null || counts[person] < 2 ? "" : String(data.numbers[person]);
    redraw();
  };
  // The next dot in a direction: the nearest inside a quarter of the plane.
  const beside = (each, from, [dx, dy]) => {
    let best = null, least = Infinity;
    for (let i = 0; i < each.x.length; i += 1) {
      const x = each.x[i] - each.x[from], y = each.y[i] - each.y[from];
      const along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
      if (along <= 0 || across > along || (kept !== null && data.people[i] !== kept)) continue;
      if (along + across < least) { least = along + across; best = i; }
    }
    return best;
  };
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  for (const each of maps) {
    const at = (event) => {
      const box = each.canvas.getBoundingClientRect();
      return nearest(each, event.clientX - box.left, event.clientY - box.top);
    };
    each.canvas.addEventListener("pointermove", (event) => hover(each, at(event)));
    each.canvas.addEventListener("pointerleave", () => hover(each, null));
    each.canvas.addEventListener("blur", () => hover(each, null));
    each.canvas.addEventListener("click", (event) => {
      const i = at(event);
      keep(i === null || data.people[i] === kept ? null : data.people[i]);
      hover(each, i);
    });
    each.canvas.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { keep(null); hover(each, null); return; }
      if (event.key === "Enter" && under !== null) { keep(data.people[under] === kept ? null : data.people[under]); return; }
      if (!(event.key in moves)) return;
      event.preventDefault();
      const first = kept === null ? 0 : data.people.indexOf(kept);
      const next = under === null ? first : beside(each, under, moves[event.key]);
      if (next !== null) said.textContent = hover(each, next);
    });
  }

  chooser.addEventListener("change", () => keep(chooser.value === "" ? null : data.numbers.indexOf(Number(chooser.value))));
  for (const button of all("[data-map]")) {
    button.addEventListener("click", () => {
      map = button.dataset.map;
      for (const each of all("[data-map]")) each.setAttribute("aria-pressed", String(each === button));
      redraw();
    });
  }

  const theme = document.getElementById("theme");
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; redraw(); };
  theme.setAttribute("aria-label", "Switch between light and dark");
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  theme.hidden = false;
  nameTheme();
  new ResizeObserver(redraw).observe(document.querySelector("main"));
})();
