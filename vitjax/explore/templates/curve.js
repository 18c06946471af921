// The curve of a model's output while pixels are removed, as an SVG.

const SVG = "http://www.w3.org/2000/svg";
const CHART = { width: 360, height: 270, left: 44, right: 12, top: 14, bottom: 42 };

function shape(tag, attributes, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

function chartX(level) {
  return CHART.left + ((CHART.width - CHART.left - CHART.right) * level) / 100;
}

function chartY(value) {
  return CHART.top + (CHART.height - CHART.top - CHART.bottom) * (1 - value / 100);
}

function pathOf(levels, values) {
  let path = "";
  levels.forEach((level, i) => {
    if (values[i] === null) return;
    path += (path ? "L" : "M") + chartX(level).toFixed(2) + " " + chartY(values[i]).toFixed(2);
  });
  return path;
}

// The chart itself, without curves; `onLevel` is called with the number of the level that is pointed at.
function chart(levels, onLevel) {
  const svg = shape("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, class: "chart", role: "img" });
  for (const tick of [0, 25, 50, 75, 100]) {
    svg.append(
      shape("line", { x1: chartX(0), x2: chartX(100), y1: chartY(tick), y2: chartY(tick), class: tick ? "grid" : "axis" }),
      shape("text", { x: CHART.left - 6, y: chartY(tick) + 4, class: "tick end" }, tick),
      shape("text", { x: chartX(tick), y: chartY(0) + 16, class: "tick middle" }, tick),
    );
  }
  const middle = (CHART.top + CHART.height - CHART.bottom) / 2;
  const turned = { x: -middle, y: 12, transform: "rotate(-90)", class: "title middle" };
  svg.append(
    shape("text", { x: (chartX(0) + chartX(100)) / 2, y: CHART.height - 8, class: "title middle" }, "pixels removed [%]"),
    shape("text", turned, "probability [%]"),
  );
  const curves = shape("g", {});
  svg.append(curves);
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * CHART.width;
    const level = (100 * (x - chartX(0))) / (chartX(100) - chartX(0));
    const distances = levels.map((each) => Math.abs(each - level));
    onLevel(distances.indexOf(Math.min(...distances)));
  };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", (event) => event.buttons && point(event));
  return { svg, curves };
}

// Curves of the chosen map, and of the other methods' maps in grey.
function drawCurves(curves, levels, chosen, others, level) {
  curves.replaceChildren();
  for (const values of others) curves.append(shape("path", { d: pathOf(levels, values), class: "other" }));
  const known = chosen.predicted.every((value) => value !== null);
  if (known) {
    const line = pathOf(levels, chosen.predicted);
    const area = `${line}L${chartX(levels.at(-1))} ${chartY(0)}L${chartX(levels[0])} ${chartY(0)}Z`;
    curves.append(shape("path", { d: area, class: "area" }), shape("path", { d: line, class: "predicted" }));
  }
  if (chosen.target) curves.append(shape("path", { d: pathOf(levels, chosen.target), class: "target" }));
  const x = chartX(levels[level]);
  curves.append(shape("line", { x1: x, x2: x, y1: chartY(0), y2: chartY(100), class: "now" }));
  if (known) curves.append(shape("circle", { cx: x, cy: chartY(chosen.predicted[level]), r: 4.5, class: "dot" }));
}
