// Zoom, search and a closer look at the delivered graph; without it the drawing scrolls, and its titles say the same.
"use strict";
const net = document.getElementById("net");
const drawing = net.querySelector("svg");
const boxes = [...drawing.querySelectorAll("g")];
const words = document.getElementById("net-words");
const count = document.getElementById("net-count");
const says = document.getElementById("net-says");
const size = drawing.viewBox.baseVal;
const [SMALLEST, LARGEST, STEP] = [0.05, 4, 1.25];
let zoom = 1;
let chosen = null;

function scale(to, x = net.clientWidth / 2, y = net.clientHeight / 2) {
  const next = Math.min(LARGEST, Math.max(SMALLEST, to));
  const [left, top] = [((net.scrollLeft + x) * next) / zoom - x, ((net.scrollTop + y) * next) / zoom - y];
  zoom = next;
  drawing.style.width = `${size.width * zoom}px`;
  drawing.style.height = `${size.height * zoom}px`;
  net.scrollTo({ left, top, behavior: "instant" });
}

function tell(box) {
  says.textContent = box.querySelector("title").textContent;
}

function choose(box) {
  chosen?.classList.remove("chosen");
  chosen = box;
  box.classList.add("chosen");
  tell(box);
}

function reveal(box) {
  const [of, at] = [net.getBoundingClientRect(), box.getBoundingClientRect()];
  const left = net.scrollLeft + at.left - of.left - (net.clientWidth - at.width) / 2;
  const top = net.scrollTop + at.top - of.top - (net.clientHeight - at.height) / 2;
  net.scrollTo({ left, top, behavior: "instant" });
}

function found() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  return boxes.filter((box) => wanted.every((w) => box.textContent.toLowerCase().includes(w)));
}

function search() {
  const hits = new Set(found());
  boxes.forEach((box) => box.classList.toggle("aside", !hits.has(box)));
  count.value = `${hits.size} of ${boxes.length} boxes`;
  if (words.value && hits.size) reveal([...hits][0]);
}

function next(event) {
  event.preventDefault();
  const hits = found();
  if (!hits.length) return;
  choose(hits[(hits.indexOf(chosen) + 1) % hits.length]);
  reveal(chosen);
}

function drag(event) {
  if (event.pointerType !== "mouse" || event.button) return; // a finger scrolls by itself
  const start = [net.scrollLeft + event.clientX, net.scrollTop + event.clientY];
  const move = (e) => net.scrollTo({ left: start[0] - e.clientX, top: start[1] - e.clientY, behavior: "instant" });
  addEventListener("pointermove", move);
  addEventListener("pointerup", () => removeEventListener("pointermove", move), { once: true });
}

boxes.forEach((box) => {
  box.addEventListener("click", () => choose(box));
  box.addEventListener("pointerenter", () => tell(box));
  box.addEventListener("pointerleave", () => chosen && tell(chosen));
});
net.addEventListener("pointerdown", drag);
net.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return; // without it the page scrolls
  event.preventDefault();
  const of = net.getBoundingClientRect();
  scale(zoom * (event.deltaY < 0 ? STEP : 1 / STEP), event.clientX - of.left, event.clientY - of.top);
}, { passive: false });
net.addEventListener("keydown", (event) => {
  if (event.key === "+") scale(zoom * STEP);
  if (event.key === "-") scale(zoom / STEP);
});
document.getElementById("net-in").addEventListener("click", () => scale(zoom * STEP));
document.getElementById("net-out").addEventListener("click", () => scale(zoom / STEP));
document.getElementById("net-fit").addEventListener("click", () => scale(net.clientWidth / size.width));
words.addEventListener("input", search);
words.form.addEventListener("submit", next);
words.form.hidden = false;
net.scrollLeft = (drawing.clientWidth - net.clientWidth) / 2;
search();
