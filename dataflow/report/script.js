
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const make = (name, className, ...children) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  // Everything below reaches the page as text nodes: documents are never markup here.
  const group = (n) => Number(n).toLocaleString("en");

  const who = (doc, ...extra) => {
    const name = make("bdi", "uri", doc.u);
    name.title = doc.d;
    return make("div", "who", ...extra, make("span", "dim", doc.s), name);
  };
  const passage = (pieces) => {
    const box = make("p", "text");
    box.dir = "auto";
    box.tabIndex = 0;
    for (const [text, marked] of pieces) box.append(marked ? make("mark", "", text) : text);
    return box;
  };
  const sample = (doc) => {
    const more = doc.o ? make("span", "badge", `fails ${doc.o} more`) : null;
    return make("div", "sample", who(doc, doc.v ? make("span", "value", doc.v) : null, more), passage(doc.x));
  };
  const side = (title, docs, className) =>
    make("div", className, make("h4", "", title), ...(docs.length ? docs.map(sample) : [make("p", "note", "None.")]));

  const difference = (pair) => {
    const box = make("p", "text diff");
    box.dir = "auto";
    box.tabIndex = 0;
    for (const [kind, text] of pair.p) {
      if (kind === "~") box.append(make("span", "skip-words", ` ⋯ ${group(text)} words the same ⋯ `));
      else if (kind === "-") box.append(make("del", "", text));
      else if (kind === "+") box.append(make("ins", "", text));
      else box.append(text);
    }
    const note = pair.whole ? "" : " (of the beginning of long texts)";
    const words = (n) => `${group(n)} word${n === 1 ? "" : "s"}`;
    const counts = `${words(pair.minus)} only in the kept one, ${words(pair.plus)} only in the dropped one${note}`;
    return make("div", "sample",
      who(pair.kept, make("span", "badge", "kept")), who(pair.gone, make("span", "badge bad", "dropped")),
      make("div", "dim", pair.p.some((piece) => piece[0] === "-" || piece[0] === "+") ? counts : "The words are the same."),
      box);
  };

  const fill = {
    rule: (key) => [make("div", "sides",
      side("Just kept: nearest to the threshold", data.rules[key].kept, "side"),
      side("Just dropped: nearest to the threshold", data.rules[key].dropped, "side gone"))],
    cluster: (i) => data.near[i].pairs.map(difference),
    copies: (i) => [...data.copies[i].of.map((doc) => make("div", "sample", who(doc))), passage(data.copies[i].x)],
    spans: (name) => data.spans[name].map(sample),
  };
  const open = (details) => {
    const box = details.querySelector(":scope > .samples");
    if (box && !box.hasChildNodes())
      for (const [kind, key] of Object.entries(box.dataset)) box.append(...fill[kind](key));
    const card = details.parentElement;
    if (card.classList.contains("card")) card.classList.toggle("open", details.open);
  };
  for (const details of document.querySelectorAll("details")) {
    details.addEventListener("toggle", () => open(details));
    if (details.open) open(details);
  }
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("#duplicates details, .idle")) details.open = true;
  });
  const reveal = () => {
    let node = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    for (; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();

  // The sample of the ledger.
  const input = document.getElementById("filter");
  const rows = [...document.querySelectorAll(".ledger tbody tr")];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let matches = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      matches += row.hidden ? 0 : 1;
    }
    document.getElementById("matches").value = input.value ? `${matches} of ${rows.length}` : "";
  });
})();
