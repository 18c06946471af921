// Relevance by several methods and for several classes, and what happens when the most relevant pixels are removed.

class MethodPanel {
  // onMethod and onLevel are called with what another model's panel can follow.
  constructor(model, view, photo, { onMethod, onLevel }) {
    Object.assign(this, { model, view, photo, onMethod, onLevel });
    this.method = this.target = this.level = 0;
    this.order = "positive";
    this.draw = oncePerFrame(() => this.drawNow());
    this.node = this.build();
    this.draw();
  }

  build() {
    const [height, width] = this.model.size;
    this.overlay = canvasOf(width, height, "relevance over the image");
    this.bar = colourBar();
    this.note = element("p");
    const relevance = this.figure("relevance", this.overlay, "Relevance", this.bar.node, this.note);
    const parts = [relevance];
    this.withCurves = this.view.maps.some((maps) => maps.some((map) => map.removal));
    if (this.withCurves) parts.push(...this.removalFigures(width, height));
    return element(
      "section",
      { className: "methods" },
      element("h3", { textContent: "Relevance" }),
      element("div", { className: "controls" }, this.methodSelect(), this.targetSelect(), this.orderButtons),
      element("div", { className: "figures" }, ...parts),
      this.withCurves ? this.table() : null,
      (this.source = element("p", { className: "hint" })),
    );
  }

  figure(name, picture, title, ...rest) {
    const frame = element("div", { className: "frame" }, picture);
    return element("figure", { className: name }, frame, element("figcaption", {}, element("b", { textContent: title }), ...rest));
  }

  methodSelect() {
    this.methods = element("select", { on: { change: () => this.chooseMethod(this.methods.selectedIndex) } });
    this.methods.append(...this.model.methods.map((method) => element("option", { textContent: method.title })));
    return element("label", {}, "method ", this.methods);
  }

  targetSelect() {
    const names = this.view.targets.map(({ name, probability, predicted }) => {
      const of = probability === null ? "" : ` (${percent(probability)})`;
      return element("option", { textContent: (name || "no output") + of + (predicted ? ", predicted" : "") });
    });
    this.targets = element("select", { on: { change: () => this.choose({ target: this.targets.selectedIndex }) } });
    this.targets.append(...names);
    return element("label", {}, "class ", this.targets);
  }

  removalFigures(width, height) {
    this.removed = canvasOf(width, height, "the image without the removed pixels");
    this.removedNote = element("p", { "aria-live": "polite" });
    const last = this.model.pixels.levels.length - 1;
    this.slider = element("input", { type: "range", min: 0, max: last, step: 1, value: 0, className: "level" });
    this.slider.setAttribute("aria-label", "share of pixels removed");
    this.slider.addEventListener("input", () => this.chooseLevel(Number(this.slider.value)));
    this.orders = ["positive", "negative"].map((order) =>
      element("button", {
        type: "button",
        textContent: order === "positive" ? "most relevant first" : "least relevant first",
        on: { click: () => this.choose({ order }) },
      }),
    );
    const group = element("span", { className: "group", role: "group", "aria-label": "removed first" }, ...this.orders);
    this.orderButtons = element("span", { className: "order" }, "remove ", group);
    this.chart = chart(this.model.pixels.levels, (level) => this.chooseLevel(level));
    this.legend = element("p");
    return [
      this.figure("removed", this.removed, "Pixels removed", this.slider, this.removedNote),
      element(
        "figure",
        { className: "curve" },
        this.chart.svg,
        element("figcaption", {}, element("b", { textContent: "Probability as pixels are removed" }), this.legend),
      ),
    ];
  }

  table() {
    const cell = (tag, textContent, properties = {}) => element(tag, { textContent, ...properties });
    const head = element(
      "thead",
      {},
      element(
        "tr",
        {},
        cell("th", "method", { rowSpan: 2, scope: "col" }),
        cell("th", "probability", { colSpan: 2, scope: "colgroup" }),
        cell("th", "top-1 correctness", { colSpan: 2, scope: "colgroup" }),
      ),
      element(
        "tr",
        {},
        ...["most first ↓", "least first ↑", "most first ↓", "least first ↑"].map((name) => cell("th", name, { scope: "col" })),
      ),
    );
    this.lines = this.model.methods.map((method, number) => {
      const button = cell("button", method.title, { type: "button", on: { click: () => this.chooseMethod(number) } });
      const values = Array.from({ length: 4 }, () => cell("td", ""));
      return { values, node: element("tr", {}, element("th", { scope: "row" }, button), ...values) };
    });
    const body = element("tbody", {}, ...this.lines.map((line) => line.node));
    const caption = "Perturbation AUC of the predicted class [%]; ↓ lower, ↑ higher is better";
    return element(
      "div",
      { className: "scroller" },
      element("table", {}, element("caption", { textContent: caption }), head, body),
    );
  }

  choose(change) {
    Object.assign(this, change);
    this.draw();
  }

  chooseMethod(number) {
    this.choose({ method: number });
    this.onMethod(this.model.methods[number].label);
  }

  chooseLevel(number) {
    this.choose({ level: number });
    this.onLevel(this.model.pixels.levels[number]);
  }

  followMethod(label) {
    const number = this.model.methods.findIndex((method) => method.label === label);
    if (number >= 0) this.choose({ method: number });
  }

  followLevel(level) {
    const number = this.model.pixels.levels.indexOf(level);
    if (number >= 0) this.choose({ level: number });
  }

  // The map of a method: that of the class, or the only one of a method whose map is the same for every class.
  map(method = this.method) {
    const maps = this.view.maps[method];
    return maps[this.model.methods[method].agnostic ? 0 : this.target];
  }

  // Tells which pixels are removed at a level; see removal.py.
  hidden(order, codes) {
    const { levels, thresholds } = this.model.pixels;
    const count = Math.floor((codes.length * levels[this.level]) / 100);
    if (count === 0) return () => false;
    if (count === codes.length) return () => true;
    if (order === "positive") {
      const last = thresholds.indexOf(count);
      return (i) => codes[i] <= last;
    }
    const first = thresholds.indexOf(codes.length - count);
    return (i) => codes[i] > first;
  }
}
