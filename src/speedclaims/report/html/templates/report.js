"use strict";
// Sorts the rows of a table within their groups by the column whose heading is pressed; rows without a value come last.
const order = (a, b) => (a === b ? 0 : a < b ? -1 : 1);
for (const head of document.querySelectorAll("th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const sign = head.ariaSort === "ascending" ? -1 : 1;
    const column = [...head.parentNode.children].indexOf(head);
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.ariaSort = sign > 0 ? "ascending" : "descending";
    const keys = (row) => JSON.parse(row.dataset.keys)[column];
    const compare = (one, other) => {
      const [a, b] = [keys(one), keys(other)];
      const i = a.findIndex((key, number) => key !== b[number]);
      if (i < 0) return 0;
      if (a[i] === null || b[i] === null) return a[i] === null ? 1 : -1;
      return sign * order(a[i], b[i]);
    };
    for (const body of head.closest("table").tBodies) {
      body.append(...[...body.querySelectorAll("tr[data-keys]")].sort(compare));
    }
  });
}
