// Sorting and filtering of the jobs' table; without it the table is whole, in the order of the jobs.
"use strict";
const table = document.getElementById("jobs");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const words = document.getElementById("words");
const status = document.getElementById("status");
const count = document.getElementById("count");
const collator = new Intl.Collator("en", { numeric: true });

function value(row, column) {
  const cell = row.cells[column];
  if (heads[column].classList.contains("num")) return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  return cell.textContent.trim() || null;
}

function sort(column) {
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  const order = descending ? -1 : 1;
  const rows = [...body.rows].map((row) => [value(row, column), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // what was not measured comes last, either way
    return order * (typeof a === "number" ? a - b : collator.compare(a, b));
  });
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...rows.map(([, row]) => row));
}

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(wanted.every((w) => text.includes(w)) && (!status.value || row.dataset.status === status.value));
    shown += !row.hidden;
  }
  count.value = `${shown} of ${body.rows.length} jobs`;
}

function reveal() {
  const row = document.getElementById(location.hash.slice(1));
  if (!row || !row.hidden) return;
  words.value = status.value = "";
  filter();
  row.scrollIntoView({ block: "center" });
}

heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sort(column)));
words.addEventListener("input", filter);
status.addEventListener("change", filter);
words.form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", reveal);
filter(); // a browser that goes back keeps what was typed
