"""The status page: one text, no other file, no library, nothing from elsewhere.

It reads /status every two seconds. Keys it knows, all optional:

    mode version exchange strategy model architecture session started_ms now_ms quote    text and numbers
    ready       "" or why the bot is not ready
    equity      {equity, cash, start, exposure, drawdown, realised, fees, history: [[open_ms, equity], ...]}
    risk        {state, causes: [{code, text, symbol, fault}]}
    feed        {connections, reconnects, last_candle_ms, lag_s}
    positions   [{symbol, quantity, entry, mark, weight, profit, opened_ms}]
    orders      [{symbol, side, quantity, limit, filled, state, created_ms, reason}]
    slices      [{open_ms, present, total, outcome, decision_s, orders}]
    forecasts   {asked, answered, skipped, late, failed, last_ms, p50_ms, p99_ms}
    volatility  {model, architecture, of_ms, warm, hours, failed, fallbacks, clamped, scored, qlike, qlike_har, coverage,
                coins: [{symbol, forecast, realised, fallback}]}     of the running hour, the wildest coin first
    divergences [{symbol, divergence, inferred, actual, expected, cost, fate, why}]     divergences_ms their slice
    faults      [{fault, symbol, text, times}]      fault_counts {fault: number}

Everything is put in as text, never as HTML: a symbol or an exchange's message cannot become code (S14).
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lacuna</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --bg: #f6f6f3; --card: #fff; --ink: #1d1f21; --soft: #6a6f75; --line: #e2e2dc;
  --good: #1a7f4b; --bad: #b3372f; --warn: #96690a; --mark: #2f5fb3; }
@media (prefers-color-scheme: dark) { :root { --bg: #15171a; --card: #1d2024; --ink: #e4e6e8; --soft: #979da5;
  --line: #2e3238; --good: #5cc98f; --bad: #f0857c; --warn: #e0b354; --mark: #84aef0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
header, main { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: baseline; padding-top: 18px; }
h1 { font-size: 20px; margin: 0; letter-spacing: .02em; }
h2 { font-size: 12px; margin: 0 0 8px; color: var(--soft); font-weight: 600; letter-spacing: .05em;
  text-transform: uppercase; }
#about { color: var(--soft); }
#state { margin-left: auto; }
.pill { padding: 2px 10px; border-radius: 999px; border: 1px solid currentColor; font-weight: 600;
  white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .soft { color: var(--soft); }
main { display: grid; grid-template-columns: repeat(12, 1fr); gap: 12px; padding-top: 14px; padding-bottom: 30px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
  grid-column: span 6; min-width: 0; }
.wide { grid-column: span 12; } .third { grid-column: span 4; }
@media (max-width: 820px) { section, .third { grid-column: span 12; } }
#figures { display: flex; flex-wrap: wrap; gap: 10px 34px; }
.figure b { display: block; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: 12px; }
svg { width: 100%; height: 120px; display: block; margin-top: 10px; }
.scroll { overflow-x: auto; max-height: 340px; overflow-y: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--card); text-align: left; color: var(--soft); font-weight: 500;
  font-size: 12px; }
th, td { padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 160px; width: 45%; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; }
h2 span { text-transform: none; letter-spacing: 0; font-weight: 400; }
p { margin: 0; }
#causes p { margin-top: 4px; overflow-wrap: anywhere; }
#volatility_coins { margin-top: 8px; }
footer { text-align: center; color: var(--soft); font-size: 12px; padding: 0 20px 24px; }
</style>
</head>
<body>
<header>
  <h1>lacuna</h1><span id="about"></span>
  <span id="state"><span class="pill soft">waiting</span></span>
</header>
<main>
  <section class="wide"><h2>Account</h2><div id="figures"></div><div id="curve"></div></section>
  <section class="third"><h2>Risk</h2><div id="causes"></div></section>
  <section class="third"><h2>Feed</h2><div id="feed"></div></section>
  <section class="third"><h2>Model</h2><div id="model"></div></section>
  <section class="wide"><h2>Positions</h2><div class="scroll" id="positions"></div></section>
  <section class="wide"><h2>Orders</h2><div class="scroll" id="orders"></div></section>
  <section class="wide"><h2>Strongest divergences <span id="divergences_at"></span></h2>
    <div class="scroll" id="divergences"></div></section>
  <section class="wide" id="volatility" hidden><h2>Volatility of the hour <span id="volatility_of"></span></h2>
    <div id="volatility_score"></div><div class="scroll" id="volatility_coins"></div></section>
  <section><h2>Last slices</h2><div class="scroll" id="slices"></div></section>
  <section><h2>Faults</h2><div class="scroll" id="faults"></div></section>
</main>
<footer>times are UTC · this page only reads · <a class="soft" href="/metrics">metrics</a> ·
  <a class="soft" href="/status">status</a></footer>
<noscript>This page needs JavaScript; /status has the same as JSON.</noscript>
<script>
"use strict";
const at = id => document.getElementById(id);
const make = (tag, kind, text) => {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
};
const known = value => value !== null && value !== undefined && value !== "";
const number = (value, digits = 2) => known(value) ? Number(value).toLocaleString("en-US",
  { minimumFractionDigits: digits, maximumFractionDigits: digits }) : "–";
const figure = value => known(value) ? Number(value).toLocaleString("en-US", { maximumSignificantDigits: 8 }) : "–";
const percent = (value, digits = 2) => known(value) ? number(100 * value, digits) + " %" : "–";
const clock = ms => known(ms) && ms > 0 ? new Date(ms).toISOString().slice(11, 19) : "–";
const minute = ms => known(ms) && ms > 0 ? new Date(ms).toISOString().slice(11, 16) : "–";
const moment = ms => known(ms) && ms > 0 ? new Date(ms).toISOString().slice(5, 16).replace("T", " ") : "–";
const tint = value => Number(value) > 0 ? "good" : Number(value) < 0 ? "bad" : "";
const span = seconds => seconds < 90 ? Math.round(seconds) + " s" : seconds < 5400 ? Math.round(seconds / 60) + " min" :
  seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " d";
const words = state => ({ RUNNING: "running", NO_ENTRIES: "no entries", REDUCE: "reducing", HALTED: "halted" }[state]
  || String(state || "unknown"));

// columns: [title, text of a row, class of the cell, colour of a row's cell if it has one]
function table(id, rows, columns, nothing) {
  if (!rows || !rows.length) { at(id).replaceChildren(make("p", "soft", nothing)); return; }
  const whole = make("table"), head = make("tr"), top = make("thead"), body = make("tbody");
  for (const [title, , kind] of columns) head.append(make("th", kind, title));
  for (const row of rows) {
    const line = make("tr");
    for (const [, text, kind, colour] of columns) {
      line.append(make("td", kind + (colour ? " " + colour(row) : ""), text(row)));
    }
    body.append(line);
  }
  top.append(head); whole.append(top, body); at(id).replaceChildren(whole);
}

function figures(account, quote) {
  const change = known(account.start) && account.start > 0 ? account.equity / account.start - 1 : null;
  const shown = [["equity " + quote, number(account.equity), ""], ["since the start", percent(change), tint(change)],
    ["cash", number(account.cash), ""], ["invested", percent(account.exposure, 1), ""],
    ["drawdown", percent(account.drawdown), account.drawdown > 0 ? "bad" : ""],
    ["realised", number(account.realised), tint(account.realised)], ["fees", number(account.fees), ""]];
  at("figures").replaceChildren(...shown.map(([name, value, kind]) => {
    const box = make("div", "figure");
    box.append(make("b", kind, value), make("span", "", name));
    return box;
  }));
}

function curve(points) {
  if (!points || points.length < 2) { at("curve").replaceChildren(); return; }
  const values = points.map(point => Number(point[1])), low = Math.min(...values), high = Math.max(...values);
  const first = points[0][0], last = points[points.length - 1][0], height = high - low || 1;
  const place = point => [1000 * (point[0] - first) / (last - first || 1), 110 - 100 * (point[1] - low) / height];
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 1000 120");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "equity from " + moment(first) + " to " + moment(last) + ", lowest " + number(low) +
    ", highest " + number(high));
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.map(point => place(point).map(x => x.toFixed(1)).join(",")).join(" "));
  line.setAttribute("fill", "none");
  line.setAttribute("stroke", "var(--mark)");
  line.setAttribute("stroke-width", "1.5");
  line.setAttribute("vector-effect", "non-scaling-stroke");
  svg.append(line);
  at("curve").replaceChildren(svg, make("p", "soft", moment(first) + " to " + moment(last) + " · lowest " + number(low)
    + " · highest " + number(high)));
}

function risk(state, ready) {
  const kind = { RUNNING: "good", NO_ENTRIES: "warn", REDUCE: "warn", HALTED: "bad" }[state.state] || "soft";
  const line = make("p", kind, words(state.state));
  line.style.fontWeight = "600";
  const causes = (state.causes || []).map(cause =>
    make("p", "", [cause.fault, cause.symbol, cause.text || cause.code].filter(known).join(" · ")));
  if (!causes.length) causes.push(make("p", "soft", "No limit holds anything back."));
  at("causes").replaceChildren(line, ...causes);
  const pill = make("span", "pill " + (known(ready) ? "warn" : kind), known(ready) ? "not ready" : words(state.state));
  if (known(ready)) pill.title = ready;
  at("state").replaceChildren(pill);
  if (known(ready)) at("causes").append(make("p", "warn", "not ready: " + ready));
}

function feed(state, now) {
  const age = known(state.last_candle_ms) && now ? (now - state.last_candle_ms) / 1000 : null;
  const line = make("p", state.connections > 0 ? "good" : "bad", state.connections > 0 ? "connected" : "disconnected");
  line.style.fontWeight = "600";
  const parts = [known(age) ? "last candle " + span(Math.max(0, age)) + " ago" : "no candle yet",
    known(state.lag_s) ? "arrived " + number(state.lag_s, 2) + " s after its close" : "",
    (state.reconnects || 0) + " reconnects"].filter(known);
  at("feed").replaceChildren(line, make("p", "soft", parts.join(" · ")));
}

function model(status) {
  const asked = status.forecasts, name = make("p", "", [status.model, status.architecture].filter(known).join(" · "));
  if (!asked) { at("model").replaceChildren(make("p", "soft", "This strategy asks no model.")); return; }
  name.style.fontWeight = "600";
  const took = [["last", asked.last_ms], ["p50", asked.p50_ms], ["p99", asked.p99_ms]].filter(([, ms]) => known(ms))
    .map(([what, ms]) => what + " " + number(ms, 1) + " ms").join(" · ");
  const lost = asked.skipped + asked.late + asked.failed;
  at("model").replaceChildren(name, make("p", "soft", known(took) ? "inference " + took : "no inference yet"),
    make("p", lost ? "warn" : "soft", asked.answered + " of " + asked.asked + " forecasts answered · " + asked.skipped
      + " skipped · " + asked.late + " late · " + asked.failed + " failed"));
}

function volatility(told) {
  at("volatility").hidden = !told;
  if (!told) return;
  at("volatility_of").textContent = known(told.of_ms) ? "from " + minute(told.of_ms) : "";
  const name = make("p", "", [told.model, told.architecture].filter(known).join(" · "));
  name.style.fontWeight = "600";
  const better = told.scored && told.qlike <= told.qlike_har;
  const score = !told.scored ? make("p", "soft", "no forecast has met its hour yet") : make("p", better ? "good" : "warn",
    "QLIKE " + number(told.qlike, 3) + ", HAR " + number(told.qlike_har, 3) + " · " + percent(told.coverage, 0)
    + " within 80 % intervals · " + told.scored + (told.scored === 1 ? " hour" : " hours") + " scored");
  const counts = make("p", told.failed ? "warn" : "soft", told.hours + " hours forecast · " + told.failed + " failed · "
    + told.fallbacks + " coin hours by the fallback · " + told.clamped + " clamped");
  at("volatility_score").replaceChildren(name, score, counts);
  table("volatility_coins", told.coins, [["symbol", row => row.symbol, ""],
    ["forecast", row => percent(row.forecast, 3), "number"],
    ["last hour", row => percent(row.realised, 3), "number"],
    ["by", row => row.fallback ? "fallback" : "model", "", row => row.fallback ? "soft" : ""]],
    told.warm ? "Nothing is known yet." : "Waits for past hours.");
}

const fateTint = row => ({ bought: "good", buying: "good", sold: "bad", selling: "bad", vetoed: "warn" }[row.fate]
  || "soft");

function show(status) {
  const now = status.now_ms, account = status.equity || {};
  at("about").textContent = [status.mode, status.exchange, status.strategy,
    known(status.session) ? "session " + status.session : "",
    known(status.started_ms) && now ? "up " + span((now - status.started_ms) / 1000) : "", clock(now)]
    .filter(known).join(" · ");
  document.title = known(account.equity) ? "lacuna " + number(account.equity) : "lacuna";
  figures(account, status.quote || "");
  curve(account.history);
  risk(status.risk || {}, status.ready);
  feed(status.feed || {}, now);
  table("positions", status.positions, [["symbol", row => row.symbol, ""],
    ["quantity", row => figure(row.quantity), "number"], ["entry", row => figure(row.entry), "number"],
    ["now", row => figure(row.mark), "number"], ["share", row => percent(row.weight, 1), "number"],
    ["profit", row => number(row.profit), "number", row => tint(row.profit)],
    ["since", row => moment(row.opened_ms), "number"]], "Nothing is held.");
  table("orders", status.orders, [["time", row => clock(row.created_ms), ""], ["symbol", row => row.symbol, ""],
    ["side", row => row.side, ""], ["quantity", row => figure(row.quantity), "number"],
    ["limit", row => known(row.limit) ? figure(row.limit) : "market", "number"],
    ["filled", row => figure(row.filled), "number"], ["state", row => row.state, ""],
    ["why", row => row.reason, "text"]], "No orders yet.");
  at("divergences_at").textContent = known(status.divergences_ms) ? "of slice " + minute(status.divergences_ms) : "";
  table("divergences", status.divergences, [["symbol", row => row.symbol, ""],
    ["divergence", row => percent(row.divergence, 3), "number", row => tint(row.divergence)],
    ["fate", row => row.fate, "", fateTint],
    ["expected", row => percent(row.expected, 3), "number"],
    ["cost", row => row.cost ? percent(row.cost) : "none", "number"],
    ["why", row => row.why, "text"],
    ["inferred", row => percent(row.inferred, 3), "number"],
    ["actual", row => percent(row.actual, 3), "number"]], "No forecast yet.");
  model(status);
  volatility(status.volatility);
  table("slices", status.slices, [["slice", row => minute(row.open_ms), ""],
    ["coins", row => row.present + " of " + row.total, "number"], ["closed", row => row.outcome, ""],
    ["decided in", row => known(row.decision_s) ? number(1000 * row.decision_s, 1) + " ms" : "–", "number"],
    ["orders", row => row.orders, "number"]], "No slice yet.");
  const open = (status.faults || []).map(row => ({ ...row, open: true }));
  const past = Object.entries(status.fault_counts || {}).filter(([name]) => !open.some(row => row.fault === name))
    .map(([name, times]) => ({ fault: name, symbol: "", text: "over", times }));
  table("faults", [...open, ...past], [["fault", row => row.fault, ""], ["symbol", row => row.symbol, ""],
    ["times", row => row.times, "number"], ["what", row => row.text, "text"]], "None so far.");
}

async function look() {
  try {
    const answer = await fetch("/status", { cache: "no-store" });
    if (!answer.ok) throw new Error("status " + answer.status);
    show(await answer.json());
  } catch (why) {
    at("state").replaceChildren(make("span", "pill bad", "no answer"));
  }
  setTimeout(look, 2000);
}
look();
</script>
</body>
</html>
"""
