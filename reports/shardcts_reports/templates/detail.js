// The details of one test, made when they are first opened. All text is set as text, never as markup.
"use strict";

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value; else made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

function badge(data, name) {
  const verdict = data.verdicts[name];
  return element("span", {class: `badge tone-${verdict.tone}`},
                 element("span", {class: "symbol", "aria-hidden": "true"}, verdict.symbol), verdict.label);
}

function table(header, rows) {
  const head = header.map(text => element("th", {scope: "col"}, text));
  const cellOf = cell => element("td", {class: typeof cell === "string" && cell.length > 24 ? "long" : ""}, cell);
  const body = rows.map(cells => element("tr", {}, ...cells.map(cellOf)));
  return element("div", {class: "scroll", tabindex: "0"},
                 element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
}

function copyButton(text) {
  const button = element("button", {type: "button", class: "quiet copy"}, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const selection = getSelection();
      selection.selectAllChildren(button.parentElement.querySelector("code") ?? button.parentElement);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

const inOrder = (a, b) => a.localeCompare(b, "en", {numeric: true});

function rankList(ranks) {
  const sorted = [...ranks].sort((a, b) => a - b);
  const contiguous = sorted.length > 2 && sorted.at(-1) - sorted[0] === sorted.length - 1;
  return contiguous ? `${sorted[0]}–${sorted.at(-1)}` : sorted.join(", ") || "none";
}

function checkState(checks, id) {
  const entry = checks.evaluated[id];
  if (entry && entry.failed) return ["bad", "✗", "failed"];
  if (checks.missing.includes(id)) return ["bad", "◐", "not evaluated"];
  if (id in checks.device_limited) return ["neutral", "○", "device-limited"];
  if (!entry) return ["neutral", "–", "not evaluated"];
  return checks.expected.includes(id) ? ["good", "✓", "held"] : ["good", "✓", "held (not required)"];
}

function checksSection(result) {
  const checks = result.checks;
  const ids = [...new Set([...checks.expected, ...Object.keys(checks.evaluated), ...checks.missing,
                           ...Object.keys(checks.device_limited)])].sort(inOrder);
  if (!ids.length) return [];
  const rows = ids.map(id => {
    const [tone, symbol, text] = checkState(checks, id);
    const entry = checks.evaluated[id];
    const state = element("span", {class: `badge tone-${tone}`},
                          element("span", {class: "symbol", "aria-hidden": "true"}, symbol), text);
    const note = checks.device_limited[id];
    return [id, element("span", {}, state, note ? element("div", {class: "muted"}, note) : null),
            ...(entry ? [entry.evaluated, entry.strict, entry.failed] : ["0", "0", "0"]).map(String),
            entry ? rankList(entry.ranks) : "none"];
  });
  return [element("h4", {}, `Checks (${checks.expected.length} expected)`),
          table(["Check", "State", "Evaluated", "Strict", "Failed", "Ranks"], rows)];
}

function failuresSection(result) {
  if (!result.failures.length) return [];
  const cards = result.failures.map(failure => {
    const parts = [failure.rank === null ? null : `rank ${failure.rank}`,
                   failure.check ? `check ${failure.check}` : null, failure.operation, failure.file ? `${failure.file}:${failure.line ?? "?"}` : null];
    return element("div", {class: "failure tone-bad"},
                   element("div", {class: "where"}, parts.filter(Boolean).join(" · ")),
                   element("pre", {}, failure.message));
  });
  const left = result.failures_in_all - result.failures.length;
  const more = left ? [element("p", {class: "muted"}, `${left} more in results.json`)] : [];
  return [element("h4", {}, `Failures (${result.failures_in_all})`), ...cards, ...more];
}

function differencePlace(detail) {
  return element("span", {class: "anywhere difference"},
                 element("div", {class: "muted"}, `step ${detail.step} · ${detail.op} · rank ${detail.rank}`),
                 element("code", {}, detail.path || "the whole result"));
}

function paritySection(result) {
  const parity = result.parity;
  if (!parity) return [];
  const counts = ["operations", "tensors", "identical", "close", "different", "structural"];
  const parts = [element("h4", {}, `Parity against ${parity.against}`),
                 table(counts.map(name => name[0].toUpperCase() + name.slice(1)),
                       [counts.map(name => String(parity[name]))])];
  if (parity.first_difference) {
    parts.push(element("div", {class: "first failure tone-warn"}, element("div", {class: "where"}, "First difference"),
                       element("pre", {}, parity.first_difference)));
  }
  if (parity.details.length) {
    const rows = parity.details.map(detail => [differencePlace(detail), detail.kind, detail.message]);
    parts.push(table(["Where", "Kind", "What"], rows));
    const left = parity.details_in_all - parity.details.length;
    if (left) parts.push(element("p", {class: "muted"}, `${left} more in results.json`));
  }
  return parts;
}

function logsSection(data, result) {
  if (!result.phases.length) return logSection(data, result.log, "Log of the pool, last lines per rank");
  return result.phases.flatMap((phase, index) =>
    logSection(data, phase.log, `Log of the pool of phase ${index + 1} (${phase.role}), last lines per rank`));
}

function logSection(data, folder, text) {
  const logs = Object.entries((folder !== null && data.logs[folder]) || {});
  if (!logs.length) return [];
  const notes = new Set(logs.map(([, log]) => log.note ?? ""));
  const title = element("h4", {}, text);
  if (notes.size === 1 && !notes.has("")) return [title, element("p", {class: "muted"}, `All ranks: ${[...notes][0]}`)];
  return [title, element("div", {class: "logs"}, ...logs.map(([rank, log]) => {
    const state = log.note ? `: ${log.note}` : log.lines.length ? "" : ": empty";
    return element("details", {}, element("summary", {}, `rank ${rank}${state}`),
                   log.lines ? element("pre", {tabindex: "0"}, log.lines.join("\n")) : null);
  }))];
}

function waiverSection(result) {
  const waiver = result.waiver;
  if (!waiver) return [];
  const until = [waiver.expires, waiver.review_version && `before version ${waiver.review_version}`].filter(Boolean);
  const rows = [["Owner", waiver.owner], ["Reason", waiver.reason], ["Evidence", waiver.evidence],
    ["Expects", [waiver.verdict, ...waiver.checks, waiver.reason_contains && `"${waiver.reason_contains}"`].filter(Boolean).join(", ")],
    ["Until", until.join(", ")], ["Found", [waiver.found, waiver.found_reason].filter(Boolean).join(": ")],
    ...(waiver.problem ? [["Does not help", waiver.problem]] : []), ["Where", waiver.place]];
  return [element("h4", {}, "Waiver"), table(["", ""], rows)];
}

function repetitionsSection(data, result) {
  if (!result.repetitions.length) return [];
  const rows = result.repetitions.map((entry, index) => [String(index + 1), badge(data, entry.verdict),
    entry.seconds.toFixed(3), entry.reason ?? "", entry.trace ?? ""]);
  const left = result.repetitions_in_all - result.repetitions.length;
  const more = left ? [element("p", {class: "muted"}, `${left} more in results.json`)] : [];
  return [element("h4", {}, `Repetitions (${result.repetitions_in_all})`),
          table(["", "Verdict", "Seconds", "Reason", "Trace"], rows), ...more];
}

function phasesSection(data, result) {
  if (!result.phases.length) return [];
  const paramsOf = phase => Object.entries(phase.params).map(([name, value]) => `${name}=${value}`).join(", ");
  const rows = result.phases.map((phase, index) => [String(index + 1), [phase.role, paramsOf(phase)].filter(Boolean).join(" "),
    String(phase.world_size), phase.implementation ?? "–", badge(data, phase.verdict), phase.seconds.toFixed(3), phase.reason ?? ""]);
  return [element("h4", {}, "Phases"), table(["", "Role", "Ranks", "Implementation", "Verdict", "Seconds", "Reason"], rows)];
}

function ranksSection(data, result) {
  if (!result.ranks.length) return [];
  const reasons = result.ranks.some(entry => entry.reason);
  const rows = result.ranks.map(entry => [String(entry.rank), badge(data, entry.verdict),
    entry.seconds === null ? "–" : entry.seconds.toFixed(3), ...(reasons ? [entry.reason ?? ""] : [])]);
  const title = result.phases.length ? "Ranks of the last phase that ran" : "Ranks";
  return [element("h4", {}, title), table(["Rank", "Verdict", "Seconds", ...(reasons ? ["Reason"] : [])], rows)];
}

function timingsSection(result) {
  const measured = result.ranks.filter(entry => entry.timings);
  if (!measured.length) return [];
  const phases = [...new Set(measured.flatMap(entry => Object.keys(entry.timings)))];
  const textOf = timing => timing ? `${timing.seconds.toFixed(6)} s in ${timing.calls}` : "–";
  const rows = measured.map(entry => [String(entry.rank), ...phases.map(phase => textOf(entry.timings[phase]))]);
  return [element("h4", {}, "Phases of state-dict calls"), table(["Rank", ...phases], rows)];
}

function commandSection(result) {
  if (!result.reproduce) return [];
  return [element("h4", {}, "Reproduce"), element("div", {class: "reproduce"},
          element("code", {class: "command"}, result.reproduce), copyButton(result.reproduce))];
}

function panel(data, label, device, result) {
  if (!result) {
    return element("section", {class: "panel"}, element("h3", {}, label),
                   element("p", {class: "muted"}, "Not selected on this implementation."));
  }
  const head = element("div", {class: "card-head"}, element("h3", {}, label),
                       element("span", {}, badge(data, result.verdict), result.flaky ? " flaky " : " ",
                               element("span", {class: "muted"}, `${result.seconds.toFixed(3)} s · ${device} · ranks: ${result.rank_kind}`)));
  const meaning = result.verdict === "pass" ? null : data.verdicts[result.verdict].meaning;
  const files = [result.log && `log ${result.log}`, result.trace && `trace ${result.trace}`].filter(Boolean);
  return element("section", {class: "panel", "aria-label": `${label}: ${result.verdict}`}, head,
                 result.reason || meaning ? element("p", {class: "reason"}, result.reason || meaning) : null,
                 ...waiverSection(result), ...repetitionsSection(data, result), ...phasesSection(data, result),
                 ...failuresSection(result), ...commandSection(result), ...paritySection(result),
                 ...checksSection(result), ...ranksSection(data, result), ...timingsSection(result), ...logsSection(data, result),
                 files.length ? element("p", {class: "muted mono"}, files.join(" · ")) : null);
}

function detailRow(data, row) {
  const link = element("a", {href: `#${encodeURIComponent(row.id)}`}, "Link");
  const head = element("div", {class: "detail-head"}, element("code", {}, row.id), copyButton(row.id), link);
  const panels = row.results.map((result, index) => panel(data, data.labels[index], data.devices[index], result));
  const cell = element("td", {role: "cell", colspan: String(data.labels.length + 1)},
                       head, element("div", {class: "panels"}, ...panels));
  return element("tr", {class: "detail", role: "row"}, cell);
}
