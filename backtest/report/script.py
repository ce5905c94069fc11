"""What moves in the report: the two charts, drawn by plotly in the page's colours, and the sorting of tables.

It reads the element "data", which `page.py` writes (curves.py has its form). Text of others goes into a chart only through
`plain`: plotly takes a little HTML in its labels.
Buttons over the charts are the ones named here: plotly's own choice has one that sends the chart, trades and all, to a server.
"""

SCRIPT = """
"use strict";
const at = id => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 560px)");
const touch = matchMedia("(pointer: coarse)").matches;
const config = { responsive: true, displaylogo: false, scrollZoom: false, showSendToCloud: false, plotlyServerURL: "",
  displayModeBar: touch || narrow.matches ? false : "hover",
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]] };
const plain = text => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function colours() {
  const style = getComputedStyle(document.documentElement), of = name => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), soft: of("--soft"), line: of("--line"), card: of("--card"), good: of("--good"),
    bad: of("--bad"), mark: of("--mark"), other: of("--other") };
}

const after = (data.last_ms - data.first_ms) / 60 || 60000;
const range = [data.first_ms, data.last_ms + after];

function faint(colour) { return colour + "38"; }

function layout(colour, more) {
  const side = narrow.matches ? 44 : 66;
  return { ...more, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: touch ? false : "zoom",
    font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 12, color: colour.soft },
    margin: { l: side, r: narrow.matches ? 8 : 14, t: 34, b: 46 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour.soft, activecolor: colour.ink },
    hoverlabel: { bgcolor: colour.card, bordercolor: colour.line, font: { color: colour.ink }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.0, yanchor: "bottom", font: { color: colour.ink } } };
}

function axis(colour, more) {
  return { gridcolor: colour.line, linecolor: colour.line, zerolinecolor: colour.soft, tickcolor: colour.line,
    automargin: false, ...more };
}

function line(name, y, colour, more) {
  return { type: "scatter", mode: "lines", name, x: data.account.time, y, line: { color: colour, width: 1.4 }, ...more };
}

let scale = "linear";
function account() {
  const colour = colours(), found = data.account, traces = [];
  const money = "%{y:,." + data.digits + "f}", share = "%{y:.2%}";
  traces.push(line("strategy", found.equity, colour.mark, { hovertemplate: money, line: { color: colour.mark, width: 2 } }));
  if (found.hold) traces.push(line("buy and hold", found.hold, colour.other, { hovertemplate: money }));
  if (found.random) {
    const [low, mean, high] = found.random, last = data.last_ms;
    traces.push({ type: "scatter", mode: "markers", name: narrow.matches ? "random" : "random entries, 5 to 95 %", x: [last], y: [mean],
      marker: { color: colour.soft, size: 7, symbol: "diamond" }, hovertemplate: money, cliponaxis: false,
      error_y: { type: "data", symmetric: false, array: [high - mean], arrayminus: [mean - low], color: colour.soft } });
  }
  traces.push(line("drawdown", found.drawdown, colour.bad, { yaxis: "y2", hovertemplate: share, showlegend: false,
    fill: "tozeroy", fillcolor: faint(colour.bad) }));
  if (found.hold_drawdown) traces.push(line("drawdown of hold", found.hold_drawdown, colour.other,
    { yaxis: "y2", hovertemplate: share, showlegend: false, line: { color: colour.other, width: 1 } }));
  traces.push(line("exposure", found.exposure, colour.good, { yaxis: "y3", hovertemplate: "%{y:.1%}", showlegend: false,
    fill: "tozeroy", fillcolor: faint(colour.good), line: { color: colour.good, width: 1 } }));
  const title = text => narrow.matches ? undefined : { text, font: { size: 12 }, standoff: 8 };
  Plotly.react("account", traces, layout(colour, { hovermode: "x unified",
    xaxis: axis(colour, { type: "date", range, anchor: "y3", hoverformat: "%Y-%m-%d %H:%M UTC", nticks: narrow.matches ? 5 : 10 }),
    yaxis: axis(colour, { type: scale, domain: [0.46, 1], title: title("equity, " + plain(data.quote)),
      exponentformat: "SI", nticks: 7 }),
    yaxis2: axis(colour, { domain: [0.2, 0.42], rangemode: "tozero", title: title("drawdown"), tickformat: "~%", nticks: 5 }),
    yaxis3: axis(colour, { domain: [0, 0.16], title: title("exposure"), tickformat: "~%", nticks: 3, rangemode: "tozero" })
  }), config);
}

function marks(name, found, symbol, colour) {
  const about = found.quantity.map((quantity, k) => quantity + (found.reason[k] ? "<br>" + plain(found.reason[k]) : ""));
  return { type: "scatter", mode: "markers", name, x: found.time, y: found.price, text: about,
    marker: { symbol, size: 9, color: colour.mark, line: { color: colour.edge, width: 1 } },
    hovertemplate: name + " %{text}<br>at %{y} on %{x}<extra></extra>" };
}

function price() {
  const found = data.prices[at("coin").selectedIndex], colour = colours();
  const traces = [{ type: "scatter", mode: "lines", name: plain(found.symbol), x: found.time, y: found.close,
    line: { color: colour.soft, width: 1.2 }, hovertemplate: "%{y} on %{x}<extra></extra>" },
    marks("bought", found.buys, "triangle-up", { mark: colour.good, edge: colour.card }),
    marks("sold", found.sells, "triangle-down", { mark: colour.bad, edge: colour.card })];
  const drawn = found.buys.quantity.length + found.sells.quantity.length;
  at("drawn").textContent = drawn < found.fills ? drawn + " of " + found.fills.toLocaleString("en-US") + " fills drawn"
    : found.fills.toLocaleString("en-US") + (found.fills === 1 ? " fill" : " fills");
  Plotly.react("price", traces, layout(colour, { hovermode: "closest",
    xaxis: axis(colour, { type: "date", range, hoverformat: "%Y-%m-%d %H:%M UTC", nticks: narrow.matches ? 5 : 10 }),
    yaxis: axis(colour, { exponentformat: "none", nticks: 8, zeroline: false, hoverformat: ".7~g" })
  }), config);
}

function draw() { account(); if (data.prices.length) price(); }

for (const button of document.querySelectorAll("[data-scale]")) {
  button.addEventListener("click", () => {
    scale = button.dataset.scale;
    for (const one of document.querySelectorAll("[data-scale]")) one.setAttribute("aria-pressed", one === button);
    account();
  });
}
if (data.prices.length) at("coin").addEventListener("change", price);
dark.addEventListener("change", draw);
narrow.addEventListener("change", draw);

function worth(row, column) {
  const cell = row.cells[column], figure = cell.querySelector("data");
  if (figure) return Number(figure.value);
  return column === 0 ? cell.textContent : null;
}
for (const table of document.querySelectorAll(".sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = column === 0 ? head.ariaSort === "ascending" : head.ariaSort !== "descending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map(row => [worth(row, column), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null)
      : (down ? -1 : 1) * (typeof a === "string" ? a.localeCompare(b) : a - b));
    body.append(...rows.map(([, row]) => row));
  }));
}
draw();
"""
