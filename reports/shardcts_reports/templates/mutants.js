// The kill table: which tests noticed a mutant, listed when it is opened; one verdict at a time.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const buttons = [...document.querySelectorAll("[data-fate]")];
  const rows = [...document.querySelectorAll("[data-fate-of]")];

  function item(text) {
    const made = document.createElement("li");
    made.textContent = text;
    return made;
  }

  for (const details of document.querySelectorAll("[data-mutant]")) {
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("ul")) return;
      const {tests, in_all: inAll} = data[Number(details.dataset.mutant)];
      const list = document.createElement("ul");
      list.append(...tests.map(entry => item(`${entry.check ?? "no check"}: ${entry.test}`)));
      if (inAll > tests.length) list.append(item(`… and ${inAll - tests.length} more in mutants.json`));
      details.append(list);
    });
  }

  function apply() {
    const pressed = buttons.filter(button => button.getAttribute("aria-pressed") === "true");
    const wanted = new Set(pressed.map(button => button.dataset.fate));
    for (const row of rows) row.hidden = wanted.size > 0 && !wanted.has(row.dataset.fateOf);
    const shown = rows.filter(row => !row.hidden).length;
    document.getElementById("shown").textContent = `${shown} of ${rows.length} mutants shown`;
  }
  for (const button of buttons) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  apply();
})();
