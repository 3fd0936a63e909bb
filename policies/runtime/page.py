"""The frame of the roll-out page: layout, style and the few lines of script, all in the page itself."""

__all__ = ["PAGE", "SCRIPT", "STYLE"]

STYLE = """
:root{
  --ink:#1d2733; --quiet:#66727f; --rule:#e4e8ec; --ground:#f5f6f8; --ok:#1f9d61; --bad:#d6455d;
  --warn:#e2973a; --idle:#9aa5b1; --blue:#2f6fed;
}
*{box-sizing:border-box}
body{
  margin:0; background:var(--ground); color:var(--ink);
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
}
main{max-width:1180px;margin:0 auto;padding:40px 20px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 10px;letter-spacing:-.02em}
h2{font-size:19px;margin:0 0 14px;letter-spacing:-.01em}
h3{font-size:15px;margin:0}
.facts,.legend{display:flex;flex-wrap:wrap;gap:6px 20px;color:var(--quiet);font-size:14px}
.facts b{color:var(--ink);font-weight:600;margin-right:3px}
section{
  background:#fff; border:1px solid var(--rule); border-radius:14px; padding:22px 24px;
  margin-top:20px; overflow-x:auto;
}
.cards{
  display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,240px),1fr)); gap:16px;
  margin-top:26px;
}
.card{background:#fff;border:1px solid var(--rule);border-radius:14px;padding:18px 22px}
.card h3{color:var(--quiet);font-weight:500}
.big{
  font-size:29px; font-weight:650; margin:4px 0 2px; letter-spacing:-.02em;
  font-variant-numeric:tabular-nums; white-space:nowrap;
}
.quiet{color:var(--quiet);font-size:13.5px;margin:0}
.stack{display:flex;height:16px;border-radius:8px;overflow:hidden;gap:2px;margin-bottom:12px}
.stack i.ok,.dot.ok{background:var(--ok)}.stack i.bad,.dot.bad{background:var(--bad)}
.stack i.warn,.dot.warn{background:var(--warn)}.stack i.idle,.dot.idle{background:var(--idle)}
.dot{display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:7px}
.line{
  display:inline-block; width:16px; height:3px; border-radius:2px; margin-right:7px;
  vertical-align:middle;
}
.ring{
  display:inline-block; width:11px; height:11px; border-radius:50%; border:2.5px solid;
  margin-right:7px; vertical-align:-1px;
}
table{width:100%;border-collapse:collapse;font-size:15px}
th,td{text-align:left;padding:9px 12px 9px 0;border-bottom:1px solid var(--rule);font-weight:400}
thead th{color:var(--quiet);font-size:13px}
tbody th{font-weight:600;white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
.number{font-variant-numeric:tabular-nums;white-space:nowrap}
.wide{width:38%;min-width:150px}
svg{display:block;width:100%}
.grid{
  display:grid; grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr)); gap:20px;
  margin-top:16px;
}
article{background:#fff;border:1px solid var(--rule);border-radius:14px;overflow:hidden}
video{display:block;width:100%;aspect-ratio:2/1;background:#dfe3e8}
.body{padding:14px 18px 12px}
.body .quiet{margin:7px 0 10px}
.badge{
  display:inline-block; color:#fff; border-radius:20px; padding:1px 10px; font-weight:600;
  font-size:12.5px; margin-right:5px;
}
.badge.ok{background:var(--ok)}
.badge.bad{background:var(--bad)}
.badge.warn{background:var(--warn)}
.badge.idle{background:var(--idle)}
.head{
  display:flex; flex-wrap:wrap; justify-content:space-between; align-items:baseline;
  gap:6px 24px; margin-top:36px;
}
"""

SCRIPT = """
const watch = new IntersectionObserver(seen => seen.forEach(({target, isIntersecting}) => {
  if (isIntersecting) target.play().catch(() => {}); else target.pause();
}), {threshold: 0.4});
document.querySelectorAll("video").forEach(video => watch.observe(video));
"""
"""Plays the videos that are in view."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>
<header><h1>{title}</h1><div class="facts">{facts}</div></header>
<div class="cards">{cards}</div>
<section><h2>How the episodes ended</h2>{outcomes}</section>
<section><h2>Success by skill</h2><table>
<thead><tr><th>Skill</th><th>Succeeded</th><th>Rate</th><th>Rate and 95% interval</th><th>Interval</th>
<th>Wrong object</th></tr></thead>
<tbody>{table}</tbody></table></section>
{swap}
<div class="head"><h2>Episodes <span class="quiet">{shown} shown</span></h2>
<div class="legend">{legend}</div></div>
<div class="grid">{episodes}</div>
</main><script>{script}</script></body></html>
"""
