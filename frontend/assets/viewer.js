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
