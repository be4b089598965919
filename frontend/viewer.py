"""Style and script of the explanation's two pictures, which zoom and pan together. They load nothing."""

from __future__ import annotations

SUPPORTING, CONTRADICTING = "#2f6fed", "#f2b705"
"""Colours of regions that support or contradict the diagnosis: skin is neither blue nor yellow, and no colour blindness
confuses them."""

CSS = f"""
.mlbio-x {{ --a: .6; line-height: 1.45; margin-top: 1.4rem; }}
.mlbio-x h4, .mlbio-x h3 {{ font-size: 1.05rem; font-weight: 600; margin: 0 0 .3rem; padding: 0; }}
.mlbio-x p {{ margin: .3rem 0; font-size: .9rem; }}
.mlbio-x-pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; margin: .6rem 0; }}
.mlbio-x figure {{ margin: 0; min-width: 0; }}
.mlbio-x figcaption {{ font-size: .82rem; margin-top: .25rem; }}
.mlbio-x svg.mlbio-x-view {{ display: block; width: 100%; border-radius: .4rem; background: #111; cursor: grab;
  touch-action: pan-y; overflow: hidden; }}
.mlbio-x.mlbio-x-zoomed svg.mlbio-x-view {{ touch-action: none; }}
.mlbio-x svg.mlbio-x-view:focus-visible {{ outline: 3px solid {SUPPORTING}; outline-offset: 2px; }}
.mlbio-x-region {{ fill: transparent; stroke: none; vector-effect: non-scaling-stroke; outline: none; }}
.mlbio-x-region.mlbio-x-on, .mlbio-x-region:focus-visible {{ stroke: #fff; stroke-width: 3; }}
.mlbio-x-plus .mlbio-x-heat {{ fill: {SUPPORTING}; }}
.mlbio-x-minus .mlbio-x-heat {{ fill: {CONTRADICTING}; }}
.mlbio-x-heat {{ pointer-events: none; fill-opacity: calc(var(--a) * var(--w)); }}
.mlbio-x-line {{ pointer-events: none; fill: none; vector-effect: non-scaling-stroke; stroke-opacity: 0; }}
.mlbio-x-plus .mlbio-x-line {{ stroke: {SUPPORTING}; stroke-width: 3; }}
.mlbio-x-minus .mlbio-x-line {{ stroke: {CONTRADICTING}; stroke-width: 2.5; stroke-dasharray: 7 4; }}
.mlbio-x-veil {{ display: none; pointer-events: none; fill: #202427; fill-opacity: calc(.4 + .6 * var(--a)); }}
.mlbio-x[data-view=outlines] .mlbio-x-heat, .mlbio-x[data-view=hide] .mlbio-x-heat {{ fill-opacity: 0; }}
.mlbio-x[data-view=outlines] .mlbio-x-strong .mlbio-x-line {{ stroke-opacity: calc(.4 + .6 * var(--a)); }}
.mlbio-x[data-view=hide] .mlbio-x-veil {{ display: inline; }}
.mlbio-x-number {{ pointer-events: none; font: 600 1px sans-serif; fill: #fff; stroke: #000; stroke-width: .18px;
  paint-order: stroke; text-anchor: middle; dominant-baseline: central; }}
.mlbio-x[data-view=hide] .mlbio-x-hidden {{ display: none; }}
.mlbio-x-tools {{ display: flex; flex-wrap: wrap; gap: .5rem 1.1rem; align-items: center; font-size: .85rem; }}
.mlbio-x-tools fieldset {{ display: flow-root; border: 0; margin: 0; padding: 0; }}
.mlbio-x-tools fieldset label {{ margin-right: .9rem; }}
.mlbio-x-tools legend {{ float: left; padding: 0 .6rem 0 0; font-weight: 600; line-height: 1.6rem; }}
.mlbio-x-tools label {{ display: inline-flex; gap: .35rem; align-items: center; min-height: 1.6rem; }}
.mlbio-x-tools input {{ accent-color: {SUPPORTING}; }}
.mlbio-x-tools button {{ font: inherit; color: inherit; background: none; border: 1px solid #7b8a8c;
  border-radius: .3rem; min-width: 2rem; min-height: 2rem; padding: 0 .5rem; cursor: pointer; }}
.mlbio-x-tools button:focus-visible {{ outline: 3px solid {SUPPORTING}; outline-offset: 1px; }}
.mlbio-x-key {{ display: inline-flex; gap: .4rem; align-items: center; margin-right: 1rem; }}
.mlbio-x-key i {{ width: 2.6rem; height: .8rem; border: 1px solid #7b8a8c; border-radius: .2rem;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.mlbio-x-key b {{ display: block; height: 100%; opacity: var(--a); }}
.mlbio-x-name {{ min-height: 1.5em; font-weight: 600; font-variant-numeric: tabular-nums; }}
.mlbio-x table {{ border-collapse: collapse; font-size: .85rem; margin: .5rem 0; width: 100%; }}
.mlbio-x caption {{ text-align: left; font-weight: 600; padding: .2rem 0; }}
.mlbio-x th, .mlbio-x td {{ text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top;
  border: 0; border-bottom: 1px solid #7b8a8c55; }}
.mlbio-x td.mlbio-x-figure {{ white-space: nowrap; font-variant-numeric: tabular-nums; }}
.mlbio-x summary {{ cursor: pointer; font-size: .9rem; }}
.mlbio-x-tables {{ display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }}
@media (max-width: 640px) {{ .mlbio-x-pair {{ grid-template-columns: 1fr; }} }}
@media print {{
  .mlbio-x-tools, .mlbio-x-name {{ display: none; }}
  .mlbio-x-pair {{ grid-template-columns: 1fr 1fr; }}
  .mlbio-x-view {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
}}
"""

STYLE = f"<style>{CSS}</style>"

SET_UP = """
function setUp(root) {
  const views = [...root.querySelectorAll(".mlbio-x-view")];
  const name = root.querySelector(".mlbio-x-name");
  const [, , width, height] = views[0].getAttribute("viewBox").split(" ").map(Number);
  let k = 1, x = 0, y = 0;
  const draw = () => {
    x = Math.min(0, Math.max(width * (1 - k), x));
    y = Math.min(0, Math.max(height * (1 - k), y));
    for (const v of views) v.querySelector("g").setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
    root.classList.toggle("mlbio-x-zoomed", k > 1);
    for (const t of root.querySelectorAll(".mlbio-x-number")) {
      const [tx, ty] = t.dataset.at.split(" ");
      t.setAttribute("transform", `translate(${tx} ${ty}) scale(${Math.max(width, height) / 32 / k})`);
    }
  };
  const zoom = (factor, cx = width / 2, cy = height / 2) => {
    const wanted = Math.min(12, Math.max(1, k * factor));
    x = cx - (cx - x) * wanted / k;
    y = cy - (cy - y) * wanted / k;
    k = wanted;
    draw();
  };
  const at = (view, event) => {
    const box = view.getBoundingClientRect();
    return [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * height / box.height];
  };
  const show = (number) => {
    let text = "";
    for (const r of root.querySelectorAll(".mlbio-x-region")) {
      const on = r.dataset.region === number;
      r.classList.toggle("mlbio-x-on", on);
      if (on) text = r.getAttribute("aria-label") || text;
    }
    name.textContent = text || name.dataset.hint;
  };
  for (const view of views) {
    const touches = new Map();
    view.addEventListener("wheel", (e) => {
      e.preventDefault();
      zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.002)), ...at(view, e));
    }, {passive: false});
    view.addEventListener("pointerdown", (e) => {
      touches.set(e.pointerId, at(view, e));
      if (k > 1 || touches.size > 1) view.setPointerCapture(e.pointerId);
      const region = e.target.closest(".mlbio-x-region");
      if (region) show(region.dataset.region);
    });
    view.addEventListener("pointermove", (e) => {
      const region = e.target.closest(".mlbio-x-region");
      if (region && !touches.size) show(region.dataset.region);
      if (!touches.has(e.pointerId)) return;
      const old = touches.get(e.pointerId), now = at(view, e);
      const others = [...touches].filter(([id]) => id !== e.pointerId);
      if (others.length === 1) {
        const o = others[0][1], d = (p) => Math.hypot(p[0] - o[0], p[1] - o[1]) || 1;
        zoom(d(now) / d(old), (now[0] + o[0]) / 2, (now[1] + o[1]) / 2);
      } else if (!others.length && k > 1) {
        x += now[0] - old[0];
        y += now[1] - old[1];
        draw();
      }
      touches.set(e.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, (e) => touches.delete(e.pointerId));
    view.addEventListener("pointerleave", (e) => { if (!touches.size && e.pointerType === "mouse") show(null); });
    view.addEventListener("focusin", (e) => { if (e.target.dataset.region) show(e.target.dataset.region); });
    // Two fingers zoom even where one finger scrolls the page.
    view.addEventListener("touchmove", (e) => { if (e.touches.length > 1) e.preventDefault(); }, {passive: false});
    view.addEventListener("keydown", (e) => {
      const step = width / 10, moves = {ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step],
        ArrowDown: [0, -step]};
      if (e.key === "+" || e.key === "=") zoom(1.4);
      else if (e.key === "-") zoom(1 / 1.4);
      else if (e.key === "0") zoom(0);
      else if (moves[e.key] && k > 1) { x += moves[e.key][0]; y += moves[e.key][1]; draw(); }
      else return;
      e.preventDefault();
    });
  }
  for (const b of root.querySelectorAll("[data-zoom]"))
    b.addEventListener("click", () => zoom(Number(b.dataset.zoom)));
  // While the page is redrawn, the old view and the new one coexist, with the same names.
  const mount = window.mlbioMounts = (window.mlbioMounts ?? 0) + 1;
  for (const r of root.querySelectorAll("input[type=radio]")) {
    r.name += `-${mount}`;
    r.checked = r.value === (root.dataset.view || "heat");
    r.addEventListener("change", () => { root.dataset.view = r.value; });
  }
  const slider = root.querySelector("input[type=range]");
  slider.addEventListener("input", () => root.style.setProperty("--a", slider.value / 100));
  draw();
}
"""
"""Defines ``setUp``, a function of one view's element."""

SCRIPT = f"<script>{SET_UP}\nfor (const root of document.querySelectorAll('.mlbio-x')) setUp(root);\n</script>"
