"use strict";
// Everything here adds to a page that is complete without it.

const tip = document.getElementById("tip");
let shown = null;

function show(target, x, y) {
  if (shown && shown !== target) shown.classList.remove("at");
  shown = target;
  tip.hidden = !target;
  if (!target) return;
  target.classList.add("at");
  if (tip.textContent !== target.dataset.tip) tip.textContent = target.dataset.tip;
  const left = Math.max(8, Math.min(x + 14, innerWidth - tip.offsetWidth - 8));
  const below = y + 18 + tip.offsetHeight < innerHeight;
  tip.style.transform = `translate(${left}px, ${below ? y + 18 : Math.max(8, y - tip.offsetHeight - 12)}px)`;
}

function pointed(event) {
  show(event.target.closest?.("[data-tip]") ?? null, event.clientX, event.clientY);
}
document.addEventListener("pointermove", pointed);
document.addEventListener("pointerdown", pointed);

function showAtItself(mark) {
  const box = mark.getBoundingClientRect();
  show(mark, box.x + box.width / 2, box.y + box.height / 2);
}

// What keys chose goes with the page; what was pointed at is no longer under the pointer.
let chosen = false;
document.addEventListener("pointermove", () => { chosen = false; });
document.addEventListener("scroll", () => (chosen && shown ? showAtItself(shown) : show(null)), { passive: true });

// Arrow keys go from mark to mark of the drawing that has the focus.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return show(null);
  const drawing = document.activeElement?.closest?.(".drawing svg, .drawing ol");
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!drawing || !steps) return;
  const marks = [...drawing.querySelectorAll("[data-tip]")];
  if (!marks.length) return;
  event.preventDefault();
  const at = marks.indexOf(shown);
  const next = marks[at < 0 ? (steps > 0 ? 0 : marks.length - 1) : (at + steps + marks.length) % marks.length];
  chosen = true;
  showAtItself(next);
});
document.addEventListener("focusout", () => show(null));

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const upwards = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && column === 0);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === undefined && y === undefined) return a.cells[column].textContent.localeCompare(b.cells[column].textContent);
        return x === undefined ? -1 : y === undefined ? 1 : x - y;
      };
      const rows = [...table.tBodies[0].rows].sort(compare);
      table.tBodies[0].append(...(upwards ? rows : rows.reverse()));
    });
  });
}

function button(words, label, act) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", className: "tool", textContent: words });
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

function zoomable(figure) {
  const drawing = figure.querySelector(".drawing");
  const picture = drawing.querySelector("svg");
  let zoom = 1;
  let whole = 0; // The width without zoom, which is wider than a phone's page.
  const set = (next, x = drawing.clientWidth / 2) => {
    const from = picture.getBoundingClientRect().width;
    if (zoom === 1) whole = from;
    zoom = Math.max(1, Math.min(12, next));
    Object.assign(picture.style, zoom === 1 ? { width: "", height: "", maxWidth: "" } : { maxWidth: "none", height: "auto", width: `${zoom * whole}px` });
    const grown = picture.getBoundingClientRect().width / from;
    drawing.scrollLeft = (drawing.scrollLeft + x) * grown - x;
  };
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.append(
    button("+", "Zoom in", () => set(zoom * 1.5)),
    button("−", "Zoom out", () => set(zoom / 1.5)),
    button("Fit", "Fit the drawing to the page", () => set(1)),
  );
  drawing.before(tools);
  drawing.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    set(zoom * Math.exp(-event.deltaY / 300), event.clientX - drawing.getBoundingClientRect().x);
  }, { passive: false });
}

function copyable(command) {
  if (!navigator.clipboard) return;
  const text = command.querySelector("code").textContent;
  const copy = button("Copy", "Copy the command", () => navigator.clipboard.writeText(text).then(() => {
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  }));
  command.append(copy);
}

// The link of the section in view is marked.
const marks = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    document.querySelectorAll("nav a").forEach((a) => a.removeAttribute("aria-current"));
    const link = document.querySelector(`nav a[href="#${entry.target.id}"]`);
    if (!link) continue;
    link.setAttribute("aria-current", "true");
    const list = link.closest("ul");
    list.scrollTo({ left: link.offsetLeft - list.clientWidth / 2 + link.offsetWidth / 2 });
  }
}, { rootMargin: "-20% 0px -70% 0px" });

function enhance() {
  document.querySelectorAll("table[data-sortable]").forEach(sortable);
  document.querySelectorAll("figure.zoomed").forEach(zoomable);
  document.querySelectorAll(".command").forEach(copyable);
  document.querySelectorAll("main > section").forEach((section) => marks.observe(section));
}
enhance();

// Served by `yoloslim report --watch`, the page asks for its own successor.
async function follow() {
  let known = `"${document.documentElement.dataset.watch}"`;
  for (;;) {
    await new Promise((done) => setTimeout(done, 2000));
    if (document.hidden) continue;
    try {
      const answer = await fetch("/", { cache: "no-store", headers: { "If-None-Match": known } });
      if (answer.status !== 200) continue;
      known = answer.headers.get("ETag");
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = [...document.querySelectorAll("figure:has(details[open])")].map((figure) => figure.id);
      document.querySelector("nav").replaceWith(next.querySelector("nav"));
      document.querySelector("main").replaceWith(next.querySelector("main"));
      open.forEach((id) => document.querySelector(`#${id} details`)?.setAttribute("open", ""));
      show(null);
      enhance();
    } catch { /* The server has stopped or is busy; the page stays as it is. */ }
  }
}
if (document.documentElement.hasAttribute("data-watch")) follow();
