"""The page that a counter daemon shows by itself: the list of counters, and one of them drawn."""

from __future__ import annotations

__all__ = ["PAGE"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Counters</title>
<style>
body { font: 14px sans-serif; margin: 1em; display: flex; gap: 1em; }
ul { list-style: none; padding: 0; max-height: 80vh; overflow: auto; min-width: 20em; }
button { border: 0; background: none; cursor: pointer; font: inherit; }
svg { border: 1px solid #999; }
</style>
</head>
<body>
<nav><input id="pattern" value="*" aria-label="pattern"><ul id="names"></ul></nav>
<main>
<h1 id="name">Choose a counter</h1>
<label>Last <select id="span"><option value="900">15 minutes</option><option value="3600">hour</option>
<option value="86400">day</option><option value="604800">week</option></select></label>
<div><svg id="graph" width="720" height="300" viewBox="0 0 720 300"></svg></div><p id="range"></p>
</main>
<script>
const $ = id => document.getElementById(id);
let shown = null;
async function list() {
  const found = await (await fetch('/?q=' + encodeURIComponent($('pattern').value))).json();
  $('names').replaceChildren(...found.matching_names.filter(n => n.is_leaf).slice(0, 5000).map(n => {
    const item = document.createElement('li'), button = document.createElement('button');
    button.textContent = n.name;
    button.onclick = () => { shown = n.name; draw(); };
    item.append(button);
    return item;
  }));
}
async function draw() {
  if (shown === null) return;
  const stop = Math.floor(Date.now() / 1000), start = stop - Number($('span').value);
  const asked = { start, stop, keys: [shown], maxSamples: 720 };
  const found = (await (await fetch('/*', { method: 'POST', body: JSON.stringify(asked) })).json())[shown];
  const cells = found.data ? found.data.filter(c => c.avg !== null) : [];
  const low = Math.min(...cells.map(c => c.min)), high = Math.max(...cells.map(c => c.max));
  const x = c => 720 * (c.time - found.start) / Math.max(1, found.end - found.start);
  const y = v => 290 - 280 * (v - low) / (high > low ? high - low : 1);
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
  line.setAttribute('points', cells.map(c => x(c) + ',' + y(c.avg)).join(' '));
  line.setAttribute('fill', 'none');
  line.setAttribute('stroke', '#06c');
  $('graph').replaceChildren(line);
  $('name').textContent = shown;
  $('range').textContent = cells.length ? low + ' to ' + high : 'nothing in this time';
}
$('pattern').onchange = list;
$('span').onchange = draw;
list();
setInterval(draw, 10000);
</script>
</body>
</html>
"""
"""Served at `/` unless the folder of the web app has an index.html."""
