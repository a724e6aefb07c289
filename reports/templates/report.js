"use strict";
(() => {
  const cards = Array.from(document.querySelectorAll("#cards > .card"));
  const controls = document.getElementById("finding-controls");
  const has = (words, wanted) => !wanted || words.split(" ").includes(wanted);

  function filterFindings() {
    const [standing, verdict, change] = ["standing", "finding-verdict", "change"].map(
      (id) => document.getElementById(id)?.value ?? "",
    );
    let nShown = 0;
    for (const card of cards) {
      const data = card.dataset;
      card.hidden = !(has(data.standing, standing) && has(data.verdict, verdict) && has(data.change, change));
      nShown += !card.hidden;
    }
    document.getElementById("findings-shown").textContent = `${nShown} of ${cards.length} rows`;
  }

  if (controls) {
    controls.addEventListener("input", filterFindings);
    controls.addEventListener("submit", (event) => event.preventDefault());
    const openAll = document.getElementById("open-all");
    openAll.addEventListener("click", () => {
      const shut = openAll.textContent === "Open all";
      for (const card of cards) card.querySelector("details.finding").open = shut;
      openAll.textContent = shut ? "Close all" : "Open all";
    });
    controls.hidden = false;
    filterFindings();
  }

  function openTarget() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const finding = target?.querySelector("details.finding");
    if (!finding) return;
    target.hidden = false;
    finding.open = true;
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", openTarget);
  openTarget();

  // Enlarge an image of a card beside the training image, with the difference of the two.
  function panel(titles, images, className) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = titles;
    const frame = document.createElement("div");
    frame.className = className;
    frame.append(
      ...images.map((image) => {
        const copy = image.cloneNode();
        copy.removeAttribute("class");
        return copy;
      }),
    );
    figure.append(frame, caption);
    return figure;
  }

  function enlarge(image) {
    const block = image.closest(".images");
    const isOpen = block.nextElementSibling?.shown === image;
    if (block.nextElementSibling?.className === "enlarged") block.nextElementSibling.remove();
    if (isOpen) return;
    const first = block.querySelector("img");
    const hasTraining = /training image/.test(first.alt);
    const box = document.createElement("div");
    box.className = "enlarged";
    box.shown = image;
    if (hasTraining && first !== image)
      box.append(
        panel(first.alt, [first], "frame"),
        panel(image.alt, [image], "frame"),
        panel("difference: black where the two are the same", [first, image], "frame difference"),
      );
    else box.append(panel(image.alt, [image], "frame"));
    const link = image.closest("a");
    if (link) {
      const file = document.createElement("a");
      file.href = link.href;
      file.textContent = "Open the file";
      box.append(file);
    }
    block.after(box);
  }

  for (const block of document.querySelectorAll("#cards .images")) {
    const images = Array.from(block.querySelectorAll("img"));
    const wanted = block.querySelector("img.framed, .framed img") ?? images[images.length - 1];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = images.length > 1 ? "Enlarge and compare" : "Enlarge";
    button.addEventListener("click", () => enlarge(wanted));
    block.append(button);
    block.addEventListener("click", (event) => {
      const image = event.target.closest("img");
      if (!image || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      enlarge(image);
    });
  }

  for (const command of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const code = command.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
    });
    command.append(button);
  }
})();

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

  function filter() {
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
  }

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
