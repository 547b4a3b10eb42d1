"use strict";
(() => {
  // Theme: as the system has it, light, dark, and round again.
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  let stored = "system";
  try { stored = localStorage.getItem("leyden-theme") || "system"; } catch { /* A file may have no storage. */ }
  const show = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    stored = theme;
  };
  show(themes.includes(stored) ? stored : "system");
  button.addEventListener("click", () => {
    show(themes[(themes.indexOf(stored) + 1) % themes.length]);
    try { localStorage.setItem("leyden-theme", stored); } catch { /* Then it lasts for this visit. */ }
  });

  // Tables sort by a heading, by mouse or keyboard.
  const value = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.sort === undefined ? cell.textContent : cell.dataset.sort;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      head.tabIndex = 0;
      const sort = () => {
        const numeric = head.classList.contains("num") || table.tBodies[0].rows[0].cells[i].classList.contains("with-bar");
        const first = numeric ? "descending" : "ascending";
        const other = numeric ? "ascending" : "descending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("total"));
        rows.sort((a, b) => {
          const [x, y] = [value(a, i), value(b, i)];
          return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
        });
        table.tBodies[0].prepend(...rows);
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
      });
    });
  }

  // The contents follow the reader.
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of document.querySelectorAll("main > section")) watcher.observe(section);
})();
