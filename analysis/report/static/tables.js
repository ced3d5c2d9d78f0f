"use strict";
// Every table.data sorts by its headings and filters by words and by chosen values.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  function keyOf(row, column, numeric) {
    const cell = row.cells[column];
    if (!numeric) return cell.textContent;
    const value = Number(cell.dataset.order ?? cell.textContent);
    return cell.textContent === "" || Number.isNaN(value) ? null : value;
  }

  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null); // no number: last
    return sign * (typeof a === "number" ? a - b : collator.compare(a, b));
  }

  function sortBy(table, heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = heading.classList.contains("numeric");
    const rows = [...table.tBodies[0].rows].map((row) => [
      keyOf(row, heading.cellIndex, numeric), row,
    ]);
    rows.sort((a, b) => compare(a[0], b[0], down ? -1 : 1));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  function headings(table) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = report.element("button", { type: "button" }, heading.textContent);
      button.addEventListener("click", () => sortBy(table, heading));
      heading.replaceChildren(button);
    }
  }

  function filters(table) {
    const rows = [...table.tBodies[0].rows];
    const words = report.element("input", { type: "search", name: "filter" });
    const chosen = [...table.tHead.rows[0].cells]
      .filter((heading) => heading.dataset.choice !== undefined)
      .map((heading) => {
        const values = [...new Set(rows.map((row) => row.cells[heading.cellIndex].textContent))];
        return { column: heading.cellIndex, name: heading.textContent, values };
      })
      .filter(({ values }) => values.length > 1);
    const shown = report.element("output", {});

    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
        row.hidden =
          !wanted.every((word) => text.includes(word)) ||
          !chosen.every(({ column, select }) =>
            select.value === "" || row.cells[column].textContent === select.value);
        count += !row.hidden;
      }
      shown.textContent = `${count} of ${rows.length} rows`;
    };

    words.addEventListener("input", apply);
    const bar = report.element("div", { class: "controls" }, report.element("label", {}, "filter", words));
    for (const one of chosen) {
      const choice = report.choice(one.name, one.name, apply);
      choice.fill([["", "all"], ...one.values.sort(collator.compare).map((v) => [v, v])]);
      one.select = choice.select;
      bar.append(choice.node);
    }
    bar.append(shown);
    table.closest(".scroll").before(bar);
    apply();
  }

  for (const table of document.querySelectorAll("table.data")) {
    filters(table); // reads the headings' texts before they become buttons
    headings(table);
  }
})();
