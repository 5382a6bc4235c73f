// The table of files: sorted, searched and paged, so that only one page of rows is ever in the document.

const PAGE = 50;
const view = { order: data.rows.map((_, index) => index), page: 0, column: null, down: false, filter: "all", find: "" };

const columns = [
  { name: "name", title: "File", value: (row) => row.n },
  { name: "duration", title: "Duration", label: "", numeric: true, value: (row) => row.d, text: (row) => span(row.d) },
  { name: "speech", title: "Speech", label: "speech", numeric: true, value: (row) => row.r, text: (row) => percent(row.r) },
  { name: "wer", title: "WER", label: "WER", numeric: true, value: (row) => row.w, text: (row) => percent(row.w, 1) },
  { name: "again", title: "Resynth. WER", label: "resynthesis WER", numeric: true, value: (row) => row.v, text: (row) => percent(row.v, 1) },
  { name: "text", title: "Text", value: (row) => textOf(row) },
].filter((column) => data.rows.some((row) => column.value(row) !== undefined && column.value(row) !== ""));

const filters = [
  { name: "all", title: "All", test: () => true },
  { name: "failed", title: "Failed", test: (row) => row.e !== undefined },
  { name: "silent", title: "No speech", test: (row) => row.s !== undefined && !row.s.length },
  { name: "flagged", title: "Flagged", test: (row) => row.f !== undefined },
  { name: "wrong", title: "WER over 50 %", test: (row) => row.w > 0.5 },
].map((filter) => ({ ...filter, count: data.rows.filter(filter.test).length })).filter((filter) => filter.count);

function textOf(row) {
  if (row.x !== undefined) return row.x;
  return row.t ? row.t.map((piece) => piece[2]).join(" ") : "";
}

function arrange() {
  const column = columns.find((one) => one.name === view.column);
  const wanted = view.find.toLowerCase();
  const test = filters.find((filter) => filter.name === view.filter).test;
  view.order = data.rows.map((_, index) => index).filter((index) => {
    const row = data.rows[index];
    return test(row) && (!wanted || row.n.toLowerCase().includes(wanted) || textOf(row).toLowerCase().includes(wanted));
  });
  if (!column) return;
  const keys = view.order.map((index) => [column.value(data.rows[index]), index]);
  const empty = (value) => value === undefined || value === "";
  const order = column.numeric ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
  keys.sort(([a, i], [b, j]) => Number(empty(a)) - Number(empty(b)) || (empty(a) ? 0 : (view.down ? -1 : 1) * order(a, b)) || i - j);
  view.order = keys.map((key) => key[1]);
}

function cell(column, row, index) {
  const properties = { class: `c-${column.name}${column.numeric ? " num" : ""}` };
  if (column.label) properties["data-label"] = column.label;
  if (column.name === "name") {
    const tags = [...(row.f || []).map((flag) => make("span", { class: "tag" }, flag.replaceAll("_", " "))), row.e ? make("span", { class: "tag bad" }, "failed") : null];
    const button = make("button", { type: "button", title: "Show above" }, row.n);
    button.addEventListener("click", () => openRow(index));
    return make("td", properties, button, " ", ...tags);
  }
  if (column.name === "text") return make("td", properties, make("span", { class: row.e ? "clamp bad" : "clamp", title: row.e || textOf(row) }, row.e || textOf(row)));
  return make("td", properties, column.text(row));
}

function drawTable() {
  const pages = Math.max(1, Math.ceil(view.order.length / PAGE));
  view.page = Math.min(view.page, pages - 1);
  const rows = view.order.slice(view.page * PAGE, (view.page + 1) * PAGE);
  document.querySelector("#table tbody").replaceChildren(...rows.map((index) => make("tr", {}, ...columns.map((column) => cell(column, data.rows[index], index)))));
  for (const head of document.querySelectorAll("#table th")) {
    const sorted = head.dataset.column === view.column;
    head.setAttribute("aria-sort", sorted ? (view.down ? "descending" : "ascending") : "none");
    head.querySelector("i").textContent = sorted ? (view.down ? " ↓" : " ↑") : "";
  }
  const first = view.order.length ? view.page * PAGE + 1 : 0;
  byId("shown").textContent = `${count(first)}–${count(Math.min(view.order.length, (view.page + 1) * PAGE))} of ${count(view.order.length)}. ${data.rows_note}`;
  const step = (by, name) => {
    const button = make("button", { type: "button", disabled: view.page + by < 0 || view.page + by >= pages }, name);
    button.addEventListener("click", () => { view.page += by; drawTable(); byId("files").scrollIntoView(); });
    return button;
  };
  byId("pages").replaceChildren(step(-1, "Previous"), `Page ${count(view.page + 1)} of ${count(pages)}`, step(1, "Next"));
  byId("pages").hidden = pages === 1;
}

function refresh() { view.page = 0; arrange(); drawTable(); }

function drawHeads() {
  const heads = columns.map((column) => {
    const button = make("button", { type: "button" }, column.title, make("i", {}));
    button.addEventListener("click", () => {
      view.down = view.column === column.name ? !view.down : column.numeric;
      view.column = column.name;
      refresh();
    });
    return make("th", { scope: "col", class: `c-${column.name}${column.numeric ? " num" : ""}`, "data-column": column.name }, button);
  });
  document.querySelector("#table thead").append(make("tr", {}, ...heads));
}

function drawFilters() {
  if (filters.length < 2) return;
  for (const filter of filters) {
    const button = make("button", { type: "button", "aria-pressed": String(filter.name === view.filter) }, `${filter.title} ${count(filter.count)}`);
    button.addEventListener("click", () => {
      view.filter = filter.name;
      for (const other of byId("filters").children) other.setAttribute("aria-pressed", String(other === button));
      refresh();
    });
    byId("filters").append(button);
  }
}

let typed = 0;
byId("find").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => { view.find = byId("find").value.trim(); refresh(); }, 120); });
drawHeads();
drawFilters();
drawTable();
