"use strict";
// The values of filters stand in the address, so that a filtered view can be reloaded, bookmarked and sent.
function keptInAddress(controls, apply) {
  const given = new URLSearchParams(location.search);
  for (const control of controls) {
    control.value = given.get(control.id) ?? "";
    if (control.selectedIndex === -1) control.value = "";
  }
  return () => {
    apply();
    const query = new URLSearchParams(location.search);
    for (const { id, value } of controls) value ? query.set(id, value) : query.delete(id);
    try {
      history.replaceState(null, "", (String(query) ? `?${query}` : location.pathname) + location.hash);
    } catch {} // a page inside a frame without an address of its own
  };
}

(() => {
  const cards = Array.from(document.querySelectorAll("#cards > .card"));
  const detailsOf = (card) => card.querySelector("details.finding");

  const moreLeaks = document.getElementById("more-leaks");
  if (moreLeaks) {
    const grid = document.getElementById("leaks");
    moreLeaks.hidden = grid.lastElementChild.offsetParent !== null;
    moreLeaks.addEventListener("click", () => {
      grid.classList.remove("cut");
      moreLeaks.hidden = true;
    });
  }

  function makeButton(text, onClick) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = text;
    button.addEventListener("click", onClick);
    return button;
  }

  async function copy(text, button, orSelect) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      if (orSelect) getSelection().selectAllChildren(orSelect);
      button.textContent = orSelect ? "Selected" : "Not allowed by the browser";
    }
  }

  const controls = document.getElementById("finding-controls");
  if (controls) {
    const [search, standing, verdict, change] = ["finding-search", "standing", "finding-verdict", "change"].map(
      (id) => document.getElementById(id),
    );
    const shown = document.getElementById("findings-shown");
    const has = (words, control) => !control?.value || words.split(" ").includes(control.value);
    const textOf = (card) =>
      `${card.querySelector("summary").textContent} ${card.querySelector(".prompts").textContent}`.toLowerCase();
    let texts;
    const filter = keptInAddress([search, standing, verdict, change].filter(Boolean), () => {
      const wanted = search.value.trim().toLowerCase();
      if (wanted) texts ??= new Map(cards.map((card) => [card, textOf(card)]));
      let nShown = 0;
      for (const card of cards) {
        const data = card.dataset;
        card.hidden = !(
          has(data.standing, standing) &&
          has(data.verdict, verdict) &&
          has(data.change, change) &&
          (!wanted || texts.get(card).includes(wanted))
        );
        nShown += !card.hidden;
      }
      shown.textContent = `${nShown} of ${cards.length} rows`;
    });
    controls.addEventListener("input", filter);
    controls.addEventListener("submit", (event) => event.preventDefault());
    const openAll = document.getElementById("open-all");
    openAll.addEventListener("click", () => {
      const shut = openAll.textContent === "Open all";
      for (const card of cards) detailsOf(card).open = shut;
      openAll.textContent = shut ? "Close all" : "Open all";
    });
    controls.hidden = false;
    filter();
  }

  // #finding-3 and #finding-<fingerprint> lead to the card that shows that finding, open.
  function cardOf(id) {
    const name = id.replace("finding-", "");
    const isIts = (card) =>
      card.dataset.numbers.split(" ").includes(name) ||
      Array.from(card.querySelectorAll(".prompts code")).some((code) => code.textContent === name);
    return document.getElementById(id) ?? (id.startsWith("finding-") ? cards.find(isIts) : null);
  }

  function openTarget() {
    let id = location.hash.slice(1);
    try {
      id = decodeURIComponent(id);
    } catch {} // a stray %
    const target = cardOf(id);
    const finding = target && detailsOf(target);
    if (!finding) return;
    target.hidden = false;
    finding.open = true;
    target.scrollIntoView({ behavior: "instant" }); // a smooth scroll misses: rows out of sight are not laid out yet
  }
  window.addEventListener("hashchange", openTarget);
  openTarget();

  // Buttons of a card are made when it is first open: a link to it, and the lines that waive its findings.
  const waiver = Array.from(document.querySelectorAll("#next ~ .steps code"), (code) => code.textContent).find((line) =>
    line.startsWith("flashbulb waivers add "),
  );
  function addActions(card) {
    if (card.querySelector(".actions")) return;
    const actions = document.createElement("p");
    actions.className = "actions";
    const link = makeButton("Copy link", () =>
      copy(`${location.href.split(/[?#]/)[0]}#finding-${card.dataset.numbers.split(" ")[0]}`, link),
    );
    actions.append(link);
    const fingerprints = Array.from(card.querySelectorAll(".prompts code"), (code) => code.textContent);
    if (waiver && !card.dataset.standing.includes("waived")) {
      const n = fingerprints.length;
      const lines = fingerprints.map((name) => waiver.replace(/[0-9a-f]{16}/, name)).join("\n");
      const button = makeButton(n > 1 ? `Copy ${n} waiver lines` : "Copy waiver line", () => copy(lines, button));
      actions.append(button);
    }
    card.querySelector(".columns > :last-child").append(actions);
  }
  for (const card of cards) {
    if (detailsOf(card).open) addActions(card);
    detailsOf(card).addEventListener("toggle", () => addActions(card));
  }

  // Arrows walk over the rows, Escape shuts an enlarged image.
  document.getElementById("cards")?.addEventListener("keydown", (event) => {
    const card = event.target.closest(".card");
    const enlarged = event.key === "Escape" && card.querySelector(".enlarged");
    if (enlarged) {
      enlarged.remove();
      card.querySelector(".images button").focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.tagName !== "SUMMARY" || event.target.closest(".more")) return;
    const rows = cards.filter((card) => !card.hidden);
    const next = rows[rows.indexOf(card) + step];
    if (!next) return;
    event.preventDefault();
    next.querySelector("summary").focus();
  });

  // Enlarge an image of a card beside the training image, with a slider between them and their difference.
  function panel(title, images, className) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    const frame = document.createElement("div");
    frame.className = className;
    for (const image of images) {
      const copied = image.cloneNode();
      copied.removeAttribute("class");
      frame.append(copied);
    }
    figure.append(frame, caption);
    return figure;
  }

  function slider(first, image) {
    const figure = panel("slide: the training image at the left", [first, image], "frame");
    const range = document.createElement("input");
    range.type = "range";
    range.setAttribute("aria-label", "Where the training image ends and the other begins");
    const divide = () => {
      figure.querySelector("img + img").style.clipPath = `inset(0 0 0 ${range.value}%)`;
    };
    range.addEventListener("input", divide);
    figure.querySelector("figcaption").before(range);
    divide();
    return figure;
  }

  function enlarge(image) {
    const columns = image.closest(".columns");
    const before = columns.querySelector(".enlarged");
    before?.remove();
    if (before?.shown === image) return;
    const first = columns.querySelector("img");
    const box = document.createElement("div");
    box.className = "enlarged";
    box.shown = image;
    if (/training image/.test(first.alt) && first !== image)
      box.append(
        panel(first.alt, [first], "frame"),
        panel(image.alt, [image], "frame"),
        slider(first, image),
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
    columns.append(box);
    box.scrollIntoView({ block: "nearest" });
  }

  for (const block of document.querySelectorAll("#cards .images")) {
    const images = Array.from(block.querySelectorAll("img"));
    const wanted = block.querySelector("img.framed, .framed img") ?? images[images.length - 1];
    block.append(makeButton(images.length > 1 ? "Enlarge and compare" : "Enlarge", () => enlarge(wanted)));
    block.addEventListener("click", (event) => {
      const image = event.target.closest("img");
      if (!image || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      enlarge(image);
    });
  }

  for (const command of document.querySelectorAll(".command")) {
    const code = command.querySelector("code");
    const button = makeButton("Copy", () => copy(code.textContent, button, code));
    command.append(button);
  }
})();
