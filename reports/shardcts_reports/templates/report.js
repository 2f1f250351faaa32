// The matrix: filters, opening of rows, links to a single test.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const rows = [...document.querySelectorAll(".row")].map(
    node => ({node, ...data.rows[Number(node.dataset.row)], detail: null}));
  const byId = new Map(rows.map(row => [row.id, row]));
  const field = name => document.getElementById(`f-${name}`);
  const verdictButtons = [...document.querySelectorAll("[data-verdict]")];

  for (const row of rows) {
    const reasons = row.results.filter(Boolean).flatMap(
      result => [result.reason ?? "", ...result.failures.map(failure => failure.message)]);
    row.haystack = [row.id, ...reasons].join("\n").toLowerCase();
  }

  function setOpen(row, open) {
    if (open && !row.detail) {
      row.detail = detailRow(data, row);
      row.node.after(row.detail);
    }
    if (row.detail) row.detail.hidden = !open;
    row.node.classList.toggle("open", open);
    row.node.querySelector(".expand").setAttribute("aria-expanded", String(open));
  }

  function matches(row, wanted) {
    return (!wanted.text.length || wanted.text.every(word => row.haystack.includes(word)))
      && (!wanted.suite || row.suite === wanted.suite)
      && (!wanted.world || String(row.world) === wanted.world)
      && (!wanted.differences || row.differs)
      && (!wanted.verdicts.size || row.results.some(result => result && wanted.verdicts.has(result.verdict)));
  }

  function applyFilters() {
    const pressed = verdictButtons.filter(button => button.getAttribute("aria-pressed") === "true");
    const wanted = {
      text: field("text").value.toLowerCase().split(/\s+/).filter(Boolean), suite: field("suite").value,
      world: field("world").value, differences: field("differences").checked,
      verdicts: new Set(pressed.map(button => button.dataset.verdict)),
    };
    let shown = 0;
    for (const row of rows) {
      const visible = matches(row, wanted);
      shown += visible;
      row.node.hidden = !visible;
      if (row.detail) row.detail.hidden = !visible || !row.node.classList.contains("open");
    }
    for (const group of document.querySelectorAll(".group")) group.hidden = !group.querySelector(".row:not([hidden])");
    document.getElementById("shown").textContent = `${shown} of ${rows.length} tests shown`;
  }

  function openFromHash() {
    let id = null;
    try { id = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const row = byId.get(id);
    if (!row) return;
    if (row.node.hidden) { document.getElementById("filters").reset(); clearVerdicts(); applyFilters(); }
    setOpen(row, true);
    row.node.scrollIntoView({block: "start"});
    row.node.querySelector(".expand").focus({preventScroll: true});
  }

  function clearVerdicts() {
    for (const button of verdictButtons) button.setAttribute("aria-pressed", "false");
  }

  document.querySelector(".matrix").addEventListener("click", event => {
    const node = event.target.closest(".row");
    const selection = getSelection();
    if (!node || (!selection.isCollapsed && node.contains(selection.anchorNode))) return;
    const row = rows[Number(node.dataset.row)];
    const open = !node.classList.contains("open");
    setOpen(row, open);
    if (open) history.replaceState(null, "", `#${encodeURIComponent(row.id)}`);
  });
  for (const button of verdictButtons) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      applyFilters();
    });
  }
  const problems = document.getElementById("show-problems");
  if (problems) {
    const green = ["good", "neutral", "warn"];
    problems.hidden = false;
    problems.addEventListener("click", () => {
      for (const button of verdictButtons) {
        button.setAttribute("aria-pressed", String(!green.includes(data.verdicts[button.dataset.verdict].tone)));
      }
      applyFilters();
    });
  }
  const form = document.getElementById("filters");
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", applyFilters);
  form.addEventListener("reset", () => setTimeout(() => { clearVerdicts(); applyFilters(); }));
  addEventListener("hashchange", openFromHash);
  applyFilters();
  openFromHash();
})();
