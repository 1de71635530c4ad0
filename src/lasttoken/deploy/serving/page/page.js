"use strict";

// Whatever a text, a label or a file holds goes through `textContent` and nothing else.

const SHOWN = 50; // answers that are drawn at a time
const SHARES = 5; // labels whose probabilities are drawn
const MOST_BYTES = 10e6; // of a file; `lasttoken predict` takes larger ones
const TRIES = 6; // of one request, while the server is busy
const STRONG = [0.02, 0.1, 0.3]; // steps of color of a word's weight, as in the report
const RELATIVE = [0.15, 0.4, 0.7]; // of numbers, as shares of the text's largest weight

const at = id => document.getElementById(id);
const state = {info: null, key: null, file: null, texts: [], answers: [], drawn: 0, abort: null};

class Fault extends Error {
  constructor(found, expected, remedy) {
    super(found);
    this.lines = [found, expected && `expected: ${expected}`, remedy && `try: ${remedy}`];
  }
}

function make(name, content, className) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (typeof content === "string") element.textContent = content;
  else element.append(...(content ?? []));
  return element;
}

const isolated = text => make("bdi", text);
const shorten = (text, most) => text.length > most ? `${text.slice(0, most)} ...` : text;
const format = number => number.toLocaleString("en", {maximumSignificantDigits: 4});
const percent = share => share >= 0.9995 ? "100 %" : `${(100 * share).toFixed(1)} %`;
const count = (number, name) => `${number.toLocaleString("en")} ${name}${number === 1 ? "" : "s"}`;
const wait = (seconds, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); });
});

// The server

async function ask(path, options = {}) {
  const headers = {...options.headers};
  if (state.key) headers.Authorization = `Bearer ${state.key}`;
  let response;
  try {
    response = await fetch(path, {...options, headers});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault("the server does not answer", "a server that runs", "start it again, and then Classify");
  }
  let content = null;
  try { content = await response.json(); } catch { /* told below */ }
  if (response.ok && content) return content;
  const told = content?.error ?? {};
  const fault = new Fault(told.found ?? `an answer of status ${response.status}`, told.expected, told.remedy);
  fault.status = response.status;
  fault.seconds = Number(response.headers.get("Retry-After")) || 1;
  throw fault;
}

async function askPatiently(body, signal) {
  for (let tries = 1; ; tries++) {
    try {
      const headers = {"Content-Type": "application/json"};
      return await ask("classify", {method: "POST", headers, body: JSON.stringify(body), signal});
    } catch (fault) {
      if (![429, 503].includes(fault.status) || tries === TRIES) throw fault;
      say(`the server is busy; asking again in ${count(fault.seconds, "second")} ...`);
      await wait(fault.seconds, signal);
    }
  }
}

async function meet() {
  try {
    state.info = await ask("info");
  } catch (fault) {
    if (fault.status !== 401) return blame(fault);
    at("about").textContent = state.key ? "That is not the key." : "This server asks for a key.";
    at("key-form").hidden = false;
    at("key").focus();
    return;
  }
  const {name, task, labels, max_length, text_pairs, long} = state.info;
  at("key-form").hidden = true;
  at("about").replaceChildren(isolated(name), `, ${task}: `);
  labels.slice(0, 12).forEach((label, n) => at("about").append(n ? ", " : "", isolated(shorten(label, 40))));
  if (labels.length > 12) at("about").append(` and ${labels.length - 12} more`);
  const reads = long === "windows" ? "read in windows of" : "read up to";
  at("about").append(`. Texts are ${reads} ${count(max_length, "token")}.`);
  if (text_pairs) at("texts-label").textContent = "Texts, one a line: a text, a tab, its second text";
  at("for-what").textContent = task === "regression" ? "a larger number" : "the label";
  at("go").disabled = false;
  blame(null);
}

// What is asked: lines, or the rows of a file; each entry is [text] or [text, second text]

function readLines() {
  const lines = at("texts").value.split(/\r\n|\r|\n/).filter(line => line.trim());
  if (!state.info.text_pairs) return lines.map(line => [line]);
  return lines.map((line, n) => {
    const tab = line.indexOf("\t");
    if (tab < 0) throw new Fault(`text ${n + 1}: no tab`, "a text, a tab, and its second text", "add the second text, or take a CSV file");
    return [line.slice(0, tab), line.slice(tab + 1)];
  });
}

function parseTable(text, separator) {
  const rows = [];
  let row = [], cell = "", quoted = false, wasQuoted = false;
  const endCell = () => { row.push(cell); cell = ""; wasQuoted = false; };
  const endRow = () => {
    const isBlank = !row.length && cell === "" && !wasQuoted; // a quoted nothing is an empty text
    endCell();
    if (!isBlank) rows.push(row);
    row = [];
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += c; i++; }
      else quoted = false;
    } else if (c === '"' && cell === "" && !wasQuoted) quoted = wasQuoted = true;
    else if (c === separator) endCell();
    else if (c === "\n" || c === "\r") { if (c === "\r" && text[i + 1] === "\n") i++; endRow(); }
    else cell += c;
  }
  if (quoted) throw new Fault("a quote that is never closed", "a table in CSV", "mend the file");
  if (cell || row.length || wasQuoted) endRow();
  return rows;
}

async function readFile(file) {
  const advice = "lasttoken predict RUN FILE --output labels.csv";
  if (file.size > MOST_BYTES) throw new Fault(`${file.name}: ${format(file.size / 1e6)} MB`, "a file of up to 10 MB", advice);
  let text;
  try {
    text = new TextDecoder("utf-8", {fatal: true}).decode(await file.arrayBuffer());
  } catch {
    throw new Fault(`${file.name}: no text in UTF-8`, "a CSV file in UTF-8", "save it as CSV UTF-8");
  }
  const first = text.split(/[\r\n]/, 1)[0];
  const number = separator => first.split(separator).length;
  const separator = [",", ";", "\t", "|"].reduce((best, each) => number(each) > number(best) ? each : best);
  const [header, ...rows] = parseTable(text, separator);
  if (!rows.length) throw new Fault(`${file.name}: no rows below its first line`, "a first line of column names, and rows", "another file");
  const ragged = rows.findIndex(row => row.length !== header.length);
  if (ragged >= 0) throw new Fault(`${file.name}, row ${ragged + 1}: ${count(rows[ragged].length, "cell")}`, count(header.length, "cell"), "mend the row");
  return {name: file.name, header, rows};
}

async function take(file) {
  blame(null);
  try {
    state.file = await readFile(file);
  } catch (fault) {
    forget();
    return blame(fault);
  }
  const {name, header, rows} = state.file;
  at("file-about").replaceChildren(isolated(name), `: ${count(rows.length, "row")}, taken in place of the lines above`);
  const usual = ["text", "review", "sentence", "content", "comment", "message"];
  for (const [id, known, others] of [["column", state.info?.text_column, usual], ["pair-column", state.info?.text_pair_column, ["text_pair", "text2"]]]) {
    at(id).replaceChildren(...header.map((column, n) => { const option = make("option", column); option.value = n; return option; }));
    const wanted = [known, ...others].filter(column => column != null);
    const found = wanted.map(column => header.findIndex(each => each.toLowerCase() === column.toLowerCase())).find(n => n >= 0);
    at(id).selectedIndex = found ?? (id === "column" ? 0 : header.length - 1);
  }
  at("pair").hidden = !state.info?.text_pairs;
  at("columns").hidden = false;
  at("texts").disabled = true;
  at("go").focus();
}

function forget() {
  state.file = null;
  at("file").value = "";
  at("columns").hidden = true;
  at("texts").disabled = false;
}

function readAsked() {
  if (!state.file) return readLines();
  const columns = [Number(at("column").value), ...(state.info.text_pairs ? [Number(at("pair-column").value)] : [])];
  return state.file.rows.map(row => columns.map(column => row[column]));
}

// Parts of what is asked that one request may hold
function* portions(texts, explain) {
  const {max_texts, max_explained, max_body_bytes} = state.info.limits;
  const most = explain ? Math.min(4, max_explained) : Math.min(64, max_texts);
  const size = members => 8 + 6 * members.reduce((sum, text) => sum + text.length, 0); // \uffff at worst
  let portion = [], bytes = 200;
  for (const members of texts) {
    if (portion.length && (portion.length === most || bytes + size(members) > max_body_bytes)) {
      yield portion;
      portion = []; bytes = 200;
    }
    portion.push(members);
    bytes += size(members);
  }
  if (portion.length) yield portion;
}

async function classify() {
  if (state.abort || at("go").disabled) return;
  blame(null);
  let texts;
  try {
    texts = readAsked();
    if (!texts.length) throw new Fault("no text", "at least one line, or a CSV file", "type a text");
  } catch (fault) {
    return blame(fault);
  }
  const explain = at("explain").checked;
  state.abort = new AbortController();
  Object.assign(state, {texts, answers: [], drawn: 0});
  at("list").replaceChildren();
  at("answers").hidden = at("legend").hidden = true;
  at("go").disabled = true;
  at("stop").hidden = false;
  try {
    for (const portion of portions(texts, explain)) {
      say(`${state.answers.length.toLocaleString("en")} of ${count(texts.length, "text")} ...`);
      const body = {texts: portion.map(members => members[0]), probabilities: true, explain};
      if (state.info.text_pairs) body.text_pairs = portion.map(members => members[1]);
      state.answers.push(...(await askPatiently(body, state.abort.signal)).predictions);
      at("answers").hidden = false;
      at("legend").hidden = !explain;
      if (state.drawn < SHOWN) draw();
    }
    say(`${count(texts.length, "text")} classified.`);
  } catch (fault) {
    say(state.answers.length ? `${state.answers.length} of ${count(texts.length, "text")} classified.` : "");
    const inAll = (_, pair, n) => `${pair ? "second text" : "text"} ${(state.answers.length + Number(n) + 1).toLocaleString("en")}`;
    if (fault instanceof Fault) fault.lines[0] = fault.lines[0].replace(/^text(?:s|(_pairs))\[(\d+)\]/, inAll); // told from 0, of this request
    if (fault.name !== "AbortError") blame(fault);
    if (fault.status === 401) meet();
  } finally {
    state.abort = null;
    at("go").disabled = false;
    at("stop").hidden = true;
  }
}

// What is answered

function draw() {
  const until = Math.min(state.answers.length, (Math.floor(state.drawn / SHOWN) + 1) * SHOWN);
  for (; state.drawn < until; state.drawn++) at("list").append(drawAnswer(state.texts[state.drawn], state.answers[state.drawn]));
  at("more").hidden = state.drawn === state.answers.length;
}

function drawAnswer(members, one) {
  const item = make("li", [drawHead(one)], "example");
  const text = members.join("\n");
  const shown = one.words ? drawWords(one.words) : [text === "" ? "(an empty text)" : text];
  const quoted = make("p", null, "text long");
  quoted.append(...shown);
  quoted.dir = "auto";
  item.append(quoted);
  if (one.truncated) item.append(make("p", `Longer than ${count(state.info.max_length, "token")}: a part of it was not read.`, "cut"));
  if (one.words) item.append(drawStrongest(one));
  if (one.probabilities) item.append(drawShares(one.probabilities));
  return item;
}

function drawHead(one) {
  const head = make("p", null, "answer");
  if ("value" in one) head.textContent = format(one.value);
  else if ("labels" in one) {
    if (!one.labels.length) head.textContent = "(no label)";
    one.labels.forEach((label, n) => head.append(n ? ", " : "", isolated(label)));
  } else head.append(isolated(one.label), " ", make("span", percent(one.score), "score"));
  return head;
}

function steps(words) {
  const most = Math.max(...words.map(word => Math.abs(word.weight)), 0) || 1;
  return state.info.task === "regression" ? RELATIVE.map(share => share * most) : STRONG;
}

function drawWords(words) {
  const least = steps(words);
  return words.map(({text, weight}) => {
    const level = least.filter(step => Math.abs(weight) >= step).length;
    return level ? make("mark", text, (weight > 0 ? "f" : "a") + level) : text;
  });
}

function drawStrongest(one) {
  const least = steps(one.words)[0];
  const strong = one.words.filter(word => Math.abs(word.weight) >= least)
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, 5);
  const line = make("p", strong.length ? "Most: " : "No word alone changes the answer.", "small");
  if (one.explained && strong.length) line.replaceChildren("Most for ", isolated(one.explained), ": ");
  strong.forEach(({text, weight}, n) => {
    const size = state.info.task === "regression" ? format(Math.abs(weight)) : Math.abs(weight).toFixed(2);
    line.append(n ? ", " : "", isolated(shorten(text.trim(), 60)), ` ${weight < 0 ? "\u2212" : "+"}${size}`);
  });
  return line;
}

function drawShares(probabilities) {
  const ranked = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  const table = make("table", null, "shares");
  table.setAttribute("aria-label", "probabilities");
  for (const [label, share] of ranked.slice(0, SHARES)) {
    const name = make("th", [isolated(shorten(label, 60))]);
    name.scope = "row";
    table.append(make("tr", [name, make("td", [drawBar(share)]), make("td", percent(share))]));
  }
  const rest = ranked.slice(SHARES);
  if (!rest.length) return table;
  return make("div", [table, make("p", `and ${count(rest.length, "label")} of at most ${percent(rest[0][1])}`, "small")]);
}

function drawBar(share) {
  const part = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const bar = part("svg", {class: "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true"});
  bar.append(part("rect", {width: 100, height: 8}), part("rect", {class: "share", width: 100 * share, height: 8}));
  return bar;
}

function save() {
  const cell = value => {
    const text = /^[=+\-@\t\r]/.test(String(value)) && typeof value === "string" ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const labels = state.info.labels;
  const {header, values} = {
    "regression": {header: ["predicted_value"], values: one => [one.value]},
    "multi-label": {header: ["predicted_labels"], values: one => [one.labels.join("|")]},
  }[state.info.task] ?? {header: ["predicted_label", "predicted_probability"], values: one => [one.label, one.score]};
  const shares = state.answers[0].probabilities ? labels : [];
  const texts = state.info.text_pairs ? ["text", "text_pair"] : ["text"];
  const lines = [[...texts, ...header, ...shares.map(label => `probability_${label}`), "truncated"]];
  state.answers.forEach((one, n) => lines.push([...state.texts[n], ...values(one), ...shares.map(label => one.probabilities[label]), one.truncated]));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.map(line => line.map(cell).join(",") + "\r\n").join("")], {type: "text/csv"}));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function say(line) { at("status").textContent = line; }

function blame(fault) {
  at("fault").hidden = !fault;
  const lines = fault instanceof Fault ? fault.lines : fault ? [`the page failed: ${fault.message}`] : [];
  at("fault").replaceChildren(...lines.filter(Boolean).map(line => make("p", line)));
}

// What people do

at("form").addEventListener("submit", event => { event.preventDefault(); classify(); });
at("texts").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); classify(); }
});
at("key-form").addEventListener("submit", event => {
  event.preventDefault();
  state.key = at("key").value.trim();
  at("key").value = "";
  meet();
});
at("file").addEventListener("change", () => at("file").files[0] ? take(at("file").files[0]) : forget());
at("forget").addEventListener("click", () => { forget(); at("texts").focus(); });
at("stop").addEventListener("click", () => state.abort?.abort());
at("more").addEventListener("click", draw);
at("save").addEventListener("click", save);
for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, event => { event.preventDefault(); at("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, event => { event.preventDefault(); at("drop").classList.remove("over"); });
document.addEventListener("drop", event => { const [file] = event.dataTransfer.files; if (file) take(file); });
meet();
