"use strict";
(() => {
  const table = document.getElementById("all");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const nColumns = heads.length;
  const entries = rows.map((row, index) => {
    const cells = Array.from(row.cells, (cell) => cell.textContent);
    return {
      row,
      index,
      cells,
      text: cells.slice(0, nColumns - 5).join(" ").toLowerCase(),
      severity: cells[nColumns - 2] || "none",
      image: cells[nColumns - 1],
    };
  });
  let ordered = entries;
  const search = document.getElementById("search");
  const severity = document.getElementById("severity");
  const image = document.getElementById("image");
  const shown = document.getElementById("shown");
  const more = document.getElementById("more");
  const FIRST = 500; // rows laid out at first: a browser takes seconds to lay out ten thousand
  let limit = FIRST;
  const SEVERITIES = ["none", "low", "medium", "high"];

  const filter = keptInAddress([search, severity, image], () => {
    const wanted = search.value.trim().toLowerCase();
    let nMatches = 0;
    for (const entry of ordered) {
      const matches =
        (!wanted || entry.text.includes(wanted)) &&
        (!severity.value || entry.severity === severity.value) &&
        (!image.value || entry.image.startsWith(image.value));
      entry.row.hidden = !matches || nMatches >= limit;
      nMatches += matches;
    }
    shown.textContent = `${nMatches} of ${entries.length} prompts`;
    more.hidden = nMatches <= limit;
    more.textContent = `Show all ${nMatches} rows`;
  });

  function key(entry, column) {
    const text = entry.cells[column];
    const fromEnd = nColumns - column;
    if (fromEnd >= 3 && fromEnd <= 5) return text === "" ? -Infinity : Number(text);
    if (fromEnd === 2) return SEVERITIES.indexOf(text || "none");
    return text;
  }

  const collator = new Intl.Collator(undefined, { numeric: true });
  function sort(column, descending) {
    const sign = descending ? -1 : 1;
    const keyed = entries.map((entry) => ({ entry, key: key(entry, column) }));
    keyed.sort((a, b) => {
      const order =
        typeof a.key === "number" ? (a.key > b.key) - (a.key < b.key) : collator.compare(a.key, b.key);
      return sign * order || a.entry.index - b.entry.index;
    });
    ordered = keyed.map((item) => item.entry);
    filter();
    body.append(...ordered.map((entry) => entry.row));
    heads.forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort");
      const isNumber = head.className === "n" || nColumns - column === 2;
      sort(column, order ? order === "ascending" : isNumber);
    });
  });
  for (const control of [search, severity, image]) control.addEventListener("input", filter);
  more.addEventListener("click", () => {
    limit = Infinity;
    filter();
  });
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("controls").hidden = false;
  filter();
  table.classList.remove("cut");
})();
