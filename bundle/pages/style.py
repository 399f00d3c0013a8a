"""The look of an evaluation's page: one column on a phone, up to three on a desk, two on paper."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1140px; color: #1a1a1a; background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .3rem 0 .6rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.lead { font-size: 1.1rem; }
.quiet, dd, .key, .note { color: #555; }
nav a { margin-right: .9rem; white-space: nowrap; }
a { color: #00568c; }
.box { border-left: 5px solid #E69F00; background: #fff7e6; padding: .6rem .9rem; margin: .8rem 0; }
.box.grave { border-color: #D55E00; background: #fdeee6; }
.box ul { margin: .3rem 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; max-width: 100%; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #e2e2e2; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #999; vertical-align: bottom; background: #fff; }
tbody th { font-weight: 600; }
.numbers td { white-space: nowrap; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.numbers th { overflow-wrap: break-word; }
.numbers th:first-child { position: sticky; left: 0; background: #fff; min-width: 9rem; max-width: min(28rem, 50vw); }
.numbers th .quiet { font-weight: 400; }
td.best { font-weight: 700; }
.confusion { font-size: .8rem; }
.confusion td { text-align: center; vertical-align: middle; min-width: 3rem; }
.confusion th { max-width: 8rem; overflow-wrap: break-word; padding: .3rem .4rem; }
.settings th { overflow-wrap: break-word; min-width: 8rem; }
.settings td { font-family: ui-monospace, Menlo, Consolas, monospace; min-width: 12rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; font-size: .85rem; }
dt { font-weight: 600; } dd { margin: 0; }
.grid { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
.flow { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.flow figure { max-width: 100%; }
.pair { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 430px)); }
figure { margin: 0; break-inside: avoid; min-width: 0; }
figcaption { font-weight: 600; }
img { max-width: 100%; height: auto; display: block; }
figure > img { width: 100%; max-width: 430px; }
.key { list-style: none; padding: 0; margin: .3rem 0; font-size: .85rem; }
.key li { display: flex; gap: .5rem; }
.key i { flex: none; width: 1.6rem; font-style: normal; text-align: center; }
.key i.line { height: .75em; border-bottom: 3px; }
.note { font-size: .85rem; margin: .3rem 0; }
.card { border: 1px solid #ddd; padding: .6rem; font-size: .9rem; break-inside: avoid; }
.card img { max-height: 220px; width: auto; margin-bottom: .4rem; }
.card p { margin: .2rem 0; }
@media print { html { font-size: 11px; } body { max-width: none; padding: 0; font-size: 11px; } nav { display: none; }
  .scroll { overflow: visible; } table { font-size: .8em; } tr, figure, .card, .box { break-inside: avoid; }
  .numbers th:first-child { position: static; } h2, h3 { break-after: avoid; }
  .pair, .grid { grid-template-columns: 1fr 1fr; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
