"use strict";
(() => {
  const ROW = 32, LISTED = 100;
  const data = JSON.parse(document.getElementById("data").textContent);

  // --- columns: undo what data.py did ---------------------------------------------------------------
  const column = (c) => Array.isArray(c) ? c : Array(c.n).fill(c.all);
  const named = (c) => { const is = column(c.is); return (row) => c.of[is[row]]; };
  const grown = (c) => { let sum = 0; return column(c.by).map((step) => (sum += step)); };

  const t = data.tasks, a = data.artifacts, b = data.blocks;
  const rest = column(t.label), taskName = named(t.name), taskRun = grown(t.run), inputs = column(t.inputs);
  const taskHeight = grown(t.height), taskAt = grown(t.at), taskStart = grown(t.start), taskMs = column(t.ms);
  const attempt = column(t.attempt), taskStatus = named(t.status), taskNode = named(t.node), taskMark = named(t.mark);
  const taskGroup = new Map(data.groups.map((name, place) => [name, place]));
  const label = (row) => rest[row][0] === "~" ? rest[row].slice(1) : taskName(row) + rest[row];
  const folder = named(a.folder), file = column(a.file), digest = column(a.digest), size = column(a.size);
  const disk = named(a.disk), recorded = named(a.recorded), maker = grown(a.maker);
  const uri = (row) => folder(row) + file[row];
  const outputs = Array.from({ length: rest.length }, () => []);
  maker.forEach((task, row) => { if (task >= 0) outputs[task].push(row); });
  const readers = Array.from({ length: file.length }, () => []);
  inputs.forEach((rows, task) => rows.forEach((row) => readers[row].push(task)));

  // --- elements: text only, never markup --------------------------------------------------------------
  const el = (name, attributes, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    for (const child of children) node.append(child);
    return node;
  };
  const button = (text, act) => {
    const node = el("button", { type: "button", class: "plain", title: text }, text);
    node.addEventListener("click", act);
    return node;
  };
  const number = (value) => value.toLocaleString("en");
  const lasting = (ms) => ms >= 7200000 ? (ms / 3600000).toFixed(1) + " h" : ms >= 120000 ? (ms / 60000).toFixed(1) + " min"
    : ms >= 1000 ? (ms / 1000).toFixed(1) + " s" : ms + " ms";
  const when = (ms) => { const day = new Date(ms); return isNaN(day) ? String(ms) : day.toISOString().slice(0, 19).replace("T", " "); };
  const digits = (text) => text.length > 16 ? text.slice(0, 16) + "…" : text;
  const facts = (pairs) => el("dl", {}, ...pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value instanceof Node ? value : el("code", {}, String(value))))));
  const some = (rows, show) => {
    const list = el("ul", {}, ...rows.slice(0, LISTED).map((row) => el("li", {}, show(row))));
    if (rows.length > LISTED) list.append(el("li", {}, `and ${number(rows.length - LISTED)} more`));
    return list;
  };

  // --- lineage of what was chosen -----------------------------------------------------------------------
  const walk = (begin, next) => {
    const seen = new Set(begin), rows = [...begin];
    for (let at = 0; at < rows.length; at++) for (const row of next(rows[at])) if (!seen.has(row)) { seen.add(row); rows.push(row); }
    return rows;
  };
  const up = (task) => inputs[task].map((row) => maker[row]).filter((other) => other >= 0);
  const down = (task) => outputs[task].flatMap((row) => readers[row]);
  const taskButton = (row) => button(label(row), () => chooseTask(row));
  const fileButton = (row) => button(uri(row), () => chooseArtifact(row));

  function light(tasks) {
    const groups = new Set(tasks.map((row) => String(taskGroup.get(taskName(row)))));
    const graph = document.getElementById("graph");
    if (!graph) return;
    graph.classList.toggle("dimmed", groups.size > 0);
    for (const box of graph.querySelectorAll(".box")) box.classList.toggle("lit", groups.has(box.dataset.group));
    for (const edge of graph.querySelectorAll(".edge")) edge.classList.toggle("lit", edge.dataset.edge.split(" ").every((end) => groups.has(end)));
  }
  function choose(title, told, before, after) {
    const place = document.getElementById("chosen");
    if (!place) return;
    const close = el("button", { type: "button" }, "Close");
    close.addEventListener("click", () => { place.replaceChildren(); light([]); });
    const parts = [el("h3", {}, title), facts(told)];
    for (const [name, rows] of [["Made from", before], ["Made from it", after]]) {
      parts.push(el("h3", {}, `${name}: ${number(rows.length)} tasks`));
      if (rows.length) parts.push(some(rows, taskButton));
    }
    place.replaceChildren(el("div", { class: "chosen" }, ...parts, close));
    place.scrollIntoView({ block: "center" });
    light([...before, ...after]);
  }
  function chooseArtifact(row) {
    const made = maker[row], later = walk(readers[row], down);
    choose(uri(row), [
      ["SHA-256", digest[row]], ["Size", size[row] === null ? "" : number(size[row]) + " bytes"], ["Recorded as", recorded(row)],
      ["On disk", disk(row)], ["Made by", made >= 0 ? taskButton(made) : "nobody who is recorded here"],
      ["Read by", readers[row].length ? some(readers[row], taskButton) : "no task"],
    ], made >= 0 ? walk([made], up) : [], later);
  }
  function chooseTask(row) {
    choose(label(row), [
      ["Run", data.runs[taskRun[row]]], ["Attempt", attempt[row]], ["Status", taskStatus(row)], ["Node", taskNode(row)],
      ["Started", when(taskStart[row]) + " UTC"], ["Took", lasting(taskMs[row])], ["Annotated", taskMark(row)],
      ["Evidence", `link ${taskHeight[row]}, transaction ${taskAt[row]}`],
      ["Reads", inputs[row].length ? some(inputs[row], fileButton) : "nothing"],
      ["Makes", outputs[row].length ? some(outputs[row], fileButton) : "nothing"],
    ], walk(up(row), up), walk(down(row), down));
  }

  // --- the chain explorer ----------------------------------------------------------------------------------
  const block = {
    height: grown(b.height), slot: column(b.slot), sequence: column(b.sequence), mode: named(b.mode), reason: named(b.reason),
    records: column(b.records), votes: column(b.votes), time: grown(b.time), epoch: column(b.epoch), source: named(b.source),
    link: column(b.link), id: column(b.block),
  };
  const blockName = (row) => block.slot[row] ? `Block ${block.slot[row]}_${block.sequence[row]}` : `storage ${block.sequence[row]}`;
  function chooseBlock(row) {
    const height = block.height[row], tasks = [];
    for (let task = 0; task < taskHeight.length; task++) if (taskHeight[task] === height) tasks.push(task);
    document.getElementById("block").replaceChildren(el("div", { class: "chosen" },
      el("h3", {}, `Link ${height}: ${blockName(row)}`),
      facts([
        ["Link", block.link[row]], ["Block", block.id[row]], ["Appended", when(block.time[row]) + " UTC"], ["Mode", block.mode(row)],
        ["Reason", block.reason(row)], ["Votes cited", block.votes[row]], ["Records", block.records[row]], ["Source", block.source(row)],
        ["Epoch", block.epoch[row]], ["Prove it", `scichain-wf ledger proof ${height} --json`], ["Read it", `scichain-wf ledger show ${height}`],
      ]),
      el("h3", {}, `${number(tasks.length)} tasks in it`), some(tasks, taskButton)));
  }

  // --- tables: only the rows that are seen exist ------------------------------------------------------------
  const tables = {
    tasks: {
      rows: rest.length, filter: ["Status", taskStatus], key: label, open: chooseTask,
      columns: [["Task", label, "w1"], ["Status", taskStatus, "w3"], ["Node", taskNode, ""], ["Started (UTC)", (row) => when(taskStart[row]), "w2"],
        ["Took", (row) => lasting(taskMs[row]), "w3"], ["Link", (row) => taskHeight[row], "w3"]],
    },
    artifacts: {
      rows: file.length, filter: ["On disk", disk], key: (row) => uri(row) + " " + digest[row], open: chooseArtifact,
      columns: [["Artifact", uri, "w1"], ["SHA-256", (row) => digits(digest[row]) || "not recorded", "w2"], ["On disk", disk, "w3"],
        ["Made by", (row) => maker[row] >= 0 ? label(maker[row]) : "", ""]],
    },
    blocks: {
      rows: block.height.length, filter: ["Mode", block.mode], key: (row) => `${block.height[row]} ${blockName(row)} ${block.link[row]} ${block.id[row]}`,
      open: chooseBlock,
      columns: [["Block", blockName, "w2"], ["Link", (row) => block.height[row], "w3"], ["Mode", block.mode, "w3"], ["Records", (row) => block.records[row], "w3"],
        ["Votes", (row) => block.votes[row], "w3"], ["Appended (UTC)", (row) => when(block.time[row]), "w2"], ["Hash", (row) => digits(block.link[row]), "w2"]],
    },
  };

  for (const place of document.querySelectorAll("[data-table]")) {
    const spec = tables[place.dataset.table], name = place.dataset.table, every = Array.from({ length: spec.rows }, (_, row) => row);
    let shown = every;
    const search = el("input", { type: "search", id: `search-${name}`, autocomplete: "off", spellcheck: "false" });
    const filter = el("select", { id: `filter-${name}` }, el("option", { value: "" }, "all"));
    for (const value of new Set(every.map(spec.filter[1]))) filter.append(el("option", { value }, value || "—"));
    const told = el("span", { role: "status" }), before = el("td", { colspan: spec.columns.length }), after = before.cloneNode();
    const body = el("tbody"), box = el("div", { class: "rows", tabindex: "0", role: "region", "aria-label": place.dataset.label });
    const head = el("tr", {}, ...spec.columns.map(([title, , width]) => el("th", { scope: "col", class: width }, title)));
    const table = el("table", { "aria-label": name }, el("thead", {}, head), body);
    box.append(table);
    const draw = () => {
      const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 8), last = Math.min(shown.length, first + Math.ceil(box.clientHeight / ROW) + 24);
      before.style.height = first * ROW + "px";
      after.style.height = (shown.length - last) * ROW + "px";
      const rows = shown.slice(first, last).map((row, at) => el("tr", { "aria-rowindex": first + at + 2 }, ...spec.columns.map(([, value], number) => {
        const text = String(value(row));
        return el("td", { title: text }, number ? text : button(text, () => spec.open(row)));
      })));
      body.replaceChildren(el("tr", { class: "space", "aria-hidden": "true" }, before), ...rows, el("tr", { class: "space", "aria-hidden": "true" }, after));
      table.setAttribute("aria-rowcount", shown.length + 1);
    };
    const look = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), only = filter.value, all = filter.selectedIndex < 1;
      shown = !words.length && all ? every : every.filter((row) => (all || spec.filter[1](row) === only)
        && (!words.length || ((text) => words.every((word) => text.includes(word)))(spec.key(row).toLowerCase())));
      told.textContent = `${number(shown.length)} of ${number(every.length)}`;
      box.scrollTop = 0;
      draw();
    };
    let waiting = 0, drawing = false;
    search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(look, 120); });
    filter.addEventListener("change", look);
    box.addEventListener("scroll", () => { if (!drawing) { drawing = true; requestAnimationFrame(() => { drawing = false; draw(); }); } });
    place.replaceChildren(el("div", { class: "tools" },
      el("label", { for: search.id }, place.dataset.label), search, el("label", { for: filter.id }, spec.filter[0]), filter, told), box);
    look();
  }
  document.documentElement.dataset.ready = "yes";
})();
