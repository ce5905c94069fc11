"""How the report looks: the status page's colours (bot/edge/page.py), light and dark, narrow and wide. The charts read them too."""

STYLE = """
:root { color-scheme: light dark; --bg: #f6f6f3; --card: #fff; --ink: #1d1f21; --soft: #5f646a; --line: #e2e2dc;
  --good: #1a7f4b; --bad: #b3372f; --mark: #2f5fb3; --other: #96690a; }
@media (prefers-color-scheme: dark) { :root { --bg: #15171a; --card: #1d2024; --ink: #e4e6e8; --soft: #a0a6ae;
  --line: #2e3238; --good: #5cc98f; --bad: #f0857c; --mark: #84aef0; --other: #e0b354; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
header, main { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: baseline; padding-top: 18px; }
h1 { font-size: 20px; margin: 0; letter-spacing: .02em; overflow-wrap: anywhere; }
h2 { font-size: 12px; margin: 0 0 8px; color: var(--soft); font-weight: 600; letter-spacing: .05em;
  text-transform: uppercase; }
#about { color: var(--soft); }
main { display: grid; grid-template-columns: repeat(12, 1fr); gap: 12px; padding-top: 14px; padding-bottom: 30px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
  grid-column: span 6; min-width: 0; }
.wide { grid-column: span 12; }
.good { color: var(--good); } .bad { color: var(--bad); } .soft { color: var(--soft); }
p { margin: 0; }
#verdict { font-size: 18px; line-height: 1.4; max-width: 58em; margin-bottom: 14px; text-wrap: pretty; }
.note { color: var(--soft); font-size: 12px; margin-top: 8px; max-width: 80em; }
.told p { max-width: 66em; margin-bottom: 8px; }
#figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px 16px; }
.figure b { display: block; font-size: 19px; font-weight: 600; font-variant-numeric: tabular-nums; }
.figure span { color: var(--soft); font-size: 12px; }
.scroll { overflow: auto; }
.tall { max-height: 420px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
thead th, thead td { position: sticky; top: 0; z-index: 1; background: var(--card); color: var(--soft); font-weight: 500;
  font-size: 12px; text-align: left; vertical-align: bottom; }
th, td { padding: 4px 0 4px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
tbody th { font-weight: 400; text-align: left; }
tbody tr:last-child > * { border-bottom: 0; }
.number, thead .number { text-align: right; }
td small { display: block; color: var(--soft); font-size: 11px; line-height: 1.3; }
td.text { white-space: normal; overflow-wrap: anywhere; }
.beside thead th { white-space: normal; }
.beside { max-width: 760px; }
.beside td:nth-child(2) { font-weight: 600; }
.months thead .number { width: 7%; }
.months td, .months th { padding: 4px 7px; }
.months td small { color: inherit; opacity: .85; }
.months .whole { font-weight: 600; } .months .whole small { font-weight: 400; color: var(--soft); }
.months tbody th, #coins tbody th { position: sticky; left: 0; background: var(--card); }
.sortable button { all: unset; cursor: pointer; color: inherit; }
.sortable button:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
.sortable button::after { content: "\\2195"; padding-left: 4px; opacity: .45; }
.sortable [aria-sort] button { color: var(--ink); }
.sortable [aria-sort=ascending] button::after { content: "\\2191"; opacity: 1; }
.sortable [aria-sort=descending] button::after { content: "\\2193"; opacity: 1; }
.settings td, .settings th { vertical-align: top; }
.settings tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 130px; }
code { overflow-wrap: anywhere; font-size: 12px; }
.picture { width: 34%; min-width: 150px; }
.bar { position: relative; display: block; height: 14px; }
.bar i { position: absolute; }
.bar .zero { top: 0; bottom: 0; border-left: 1px solid var(--soft); }
.bar .range { top: 5px; height: 4px; border-radius: 2px; background: currentColor; }
.bar .dot { top: 2px; width: 10px; height: 10px; margin-left: -5px; border-radius: 50%; background: var(--ink);
  border: 2px solid var(--card); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 10px 40px; align-items: start; margin-top: 4px; }
.untold { margin: 0; padding-left: 18px; } .untold li { margin-bottom: 6px; }
.tools { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin-bottom: 6px; }
.tools button, .tools select { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--soft);
  border-radius: 6px; padding: 3px 10px; max-width: 100%; }
.tools button[aria-pressed=true] { background: var(--ink); color: var(--card); border-color: var(--ink); }
.tools button:disabled { opacity: .45; }
figure { margin: 0; }
.chart { width: 100%; }
#account { height: 620px; } #price { height: 440px; }
.modebar-btn:focus-visible { outline: 2px solid var(--mark); }
footer { text-align: center; color: var(--soft); font-size: 12px; padding: 0 20px 24px; }
@media (max-width: 820px) {
  section { grid-column: span 12; }
  .pair { grid-template-columns: 1fr; }
}
@media (max-width: 560px) {
  header, main { padding-left: 10px; padding-right: 10px; }
  section { padding: 12px; }
  #verdict { font-size: 16px; }
  th, td { padding-left: 12px; }
  tbody th, .beside td small { white-space: normal; }
  .beside :is(th, td):not(:first-child) { padding-left: 8px; }
  #figures { grid-template-columns: repeat(auto-fill, minmax(105px, 1fr)); }
  #account { height: 540px; } #price { height: 360px; }
}
"""
