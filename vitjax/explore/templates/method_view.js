// Drawing of a MethodPanel.

Object.assign(MethodPanel.prototype, {
  async drawNow() {
    const map = this.map();
    const method = this.model.methods[this.method];
    this.methods.selectedIndex = this.method;
    this.targets.selectedIndex = this.target;
    this.targets.disabled = method.agnostic;
    this.source.textContent = `${method.label}: ${method.cite}.`;
    this.tellNote(map, method);
    if (map.removal) this.drawRemoval(map.removal);
    if (this.withCurves) this.fillTable();
    const [levels, codes] = await Promise.all([
      array(map.levels, Uint8Array),
      map.removal ? array(map.removal.order, Uint8Array) : null,
    ]);
    if (map !== this.map()) return; // another map was chosen meanwhile
    const shown = map.degenerate ? new Uint8Array(levels.length) : levels;
    show(this.overlay, overlayPixels(this.photo, shown, map.signed && !map.degenerate));
    if (codes) show(this.removed, photoPixels(this.photo, this.hidden(this.order, codes), this.model.fill));
    this.node.dataset.drawn = `${this.method} ${this.target} ${this.level} ${this.order}`;
  },

  tellNote(map, method) {
    const bar = map.signed ? colourBar("against", "for", "diverging") : colourBar("low", "high");
    this.bar.node.replaceWith(bar.node);
    this.bar = bar;
    const target = this.view.targets[this.target];
    const notes = [method.agnostic ? "the same for every class" : `for ${target.name || "no output"}`];
    if (map.degenerate) notes.push("constant: it ranks no part of the image");
    this.note.textContent = notes.join("; ");
  },

  drawRemoval(removal) {
    const { levels } = this.model.pixels;
    const curves = removal.curves[this.order];
    const others = this.view.maps
      .map((maps, number) => (number === this.method ? null : this.map(number)))
      .filter((map) => map && map.removal)
      .map((map) => map.removal.curves[this.order].predicted);
    const shown = this.view.targets[this.target];
    const agnostic = this.model.methods[this.method].agnostic;
    const target = !agnostic && !shown.predicted && curves.target ? curves.target : null;
    drawCurves(this.chart.curves, levels, { predicted: curves.predicted, target }, others, this.level);
    const probability = curves.predicted[this.level];
    const verdict = curves.correct[this.level] === 100 ? "still the top class" : "no longer the top class";
    const name = this.view.predicted.name;
    this.slider.value = this.level;
    this.slider.setAttribute("aria-valuetext", `${levels[this.level]}\u00a0%`);
    this.removedNote.textContent =
      probability === null
        ? `${levels[this.level]}\u00a0%`
        : `${levels[this.level]}\u00a0%: ${name} ${percent(probability / 100)}, ${verdict}`;
    const area = removal.areas.probability[this.order];
    this.legend.replaceChildren(
      legendEntry("predicted", `${name}, predicted: area ${area === null ? "–" : area.toFixed(2)}\u00a0%`),
      target ? legendEntry("target", `${shown.name}, explained`) : "",
      others.length ? legendEntry("other", "other methods") : "",
    );
    this.orders.forEach((button, i) =>
      button.setAttribute("aria-pressed", String((i === 0) === (this.order === "positive"))),
    );
  },

  fillTable() {
    this.lines.forEach((line, number) => {
      const map = this.map(number);
      line.node.classList.toggle("chosen", number === this.method);
      line.node.querySelector("button").setAttribute("aria-pressed", String(number === this.method));
      if (!map.removal) return;
      const { probability, accuracy } = map.removal.areas;
      const values = [probability.positive, probability.negative, accuracy.positive, accuracy.negative];
      values.forEach((value, i) => (line.values[i].textContent = value === null ? "–" : value.toFixed(2)));
    });
  },
});

function legendEntry(kind, text) {
  return element("span", { className: "entry" }, element("span", { className: "key " + kind }), text);
}
