// Attention of one image in one model: point at a patch to see what it attends to and what attends to it.

class AttentionPanel {
  // onPoint is called with a place that another model's panel can follow.
  constructor(model, view, photo, attention, onPoint) {
    Object.assign(this, { model, photo, attention, onPoint, tokens: model.tokens });
    const heads = Array.from({ length: attention.heads }, (_, head) => ({ name: `head ${head}`, head }));
    this.rows = [{ name: "rollout", rollout: true }, { name: "mean", head: null }, ...heads];
    this.chosen = { row: 1, block: attention.blocks - 1 };
    this.thumbnails = new Thumbnails(this.tokens.grid, this.rows.length, attention.blocks);
    this.start = 0;
    this.byKey = false;
    this.pinned = false;
    this.token = this.tokens.pooled ? "readout" : 0;
    this.draw = oncePerFrame(() => this.drawNow());
    this.node = this.build();
    this.draw();
  }

  build() {
    const [height, width] = this.model.size;
    this.canvases = {
      photo: canvasOf(width, height, "the image as the model sees it; arrow keys move the patch"),
      to: canvasOf(width, height, "what the patch attends to"),
      by: canvasOf(width, height, "what attends to the patch"),
    };
    show(this.canvases.photo, photoPixels(this.photo));
    this.marks = {};
    this.captions = { photo: element("p", { "aria-live": "polite" }), to: element("p"), by: element("p") };
    this.bars = { to: colourBar(), by: colourBar() };
    const titles = { photo: "Point at a patch", to: "What it attends to", by: "What attends to it" };
    const figures = Object.keys(this.canvases).map((name) => this.figure(name, titles[name]));
    this.makePointable(this.canvases.photo, figures[0].querySelector(".frame"));
    this.sheet = element("canvas", { tabIndex: 0, role: "application", className: "sheet" });
    this.sheet.setAttribute("aria-label", "attention by block and head; arrow keys choose");
    this.sheet.addEventListener("pointerdown", (event) => this.chooseAt(event));
    this.sheet.addEventListener("keydown", (event) => this.chooseByKey(event));
    this.sheetTitle = element("p", { className: "chosen", "aria-live": "polite" });
    this.choice = element("div", { className: "choice" });
    this.labels = element("div", { className: "labels", "aria-hidden": "true" });
    const cells = element("div", { className: "cells" }, this.sheet, this.choice, this.labels);
    this.scroller = element("div", { className: "scroller" }, cells);
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    return element(
      "section",
      { className: "attention" },
      element("h3", { textContent: "Attention" }),
      this.tokenButtons(),
      element("div", { className: "figures" }, ...figures),
      element("div", { className: "controls" }, this.sheetTitle, this.directionButtons(), this.startControl()),
      this.scroller,
    );
  }

  figure(name, title) {
    const mark = (this.marks[name] = element("div", { className: "mark", hidden: true }));
    const frame = element("div", { className: "frame" }, this.canvases[name], mark);
    if (name !== "photo") {
      this.canvases[name].addEventListener("pointermove", (event) => this.tellValue(name, this.patchAt(event)));
      this.canvases[name].addEventListener("pointerleave", () => this.tellValue(name, null));
    }
    const bar = this.bars[name] ? this.bars[name].node : null;
    const caption = element("figcaption", {}, element("b", { textContent: title }), bar, this.captions[name]);
    return element("figure", { className: name }, frame, caption);
  }

  tokenButtons() {
    const names = this.tokens.prefix.map((name, token) => [name, token]);
    if (this.tokens.pooled) names.unshift(["head's pooling", "readout"]);
    this.buttons = names.map(([name, token]) =>
      element("button", {
        type: "button",
        textContent: name,
        token,
        on: { click: () => this.choose(token, true) },
      }),
    );
    const hint = "Point, tap or use the arrow keys. A click keeps a patch, another one lets go.";
    return element("div", { className: "controls" }, ...this.buttons, element("span", { className: "hint" }, hint));
  }

  directionButtons() {
    this.directions = [false, true].map((byKey) =>
      element("button", {
        type: "button",
        textContent: byKey ? "attends to it" : "it attends to",
        on: {
          click: () => {
            this.byKey = byKey;
            this.draw();
          },
        },
      }),
    );
    return element("span", { className: "group", role: "group", "aria-label": "sheet shows" }, ...this.directions);
  }

  startControl() {
    const last = this.attention.blocks - 1;
    this.startValue = element("output");
    this.startSlider = element("input", { type: "range", min: 0, max: last, step: 1, value: 0 });
    this.startSlider.addEventListener("input", () => {
      this.start = Number(this.startSlider.value);
      this.chosen = { row: 0, block: Math.max(this.start, this.chosen.block) };
      this.draw();
    });
    return element("label", { className: "start" }, "rollout from block ", this.startSlider, this.startValue);
  }

  // Number of the patch under a pointer, or null outside of all patches.
  patchAt(event) {
    const box = event.currentTarget.getBoundingClientRect();
    return this.patchOf((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  patchOf(u, v) {
    const { grid, patch } = this.tokens;
    const column = Math.floor((u * this.model.size[1]) / patch);
    const row = Math.floor((v * this.model.size[0]) / patch);
    return row < 0 || column < 0 || row >= grid[0] || column >= grid[1] ? null : row * grid[1] + column;
  }

  makePointable(canvas, frame) {
    Object.assign(canvas, { tabIndex: 0 });
    canvas.setAttribute("role", "application");
    frame.classList.add("pointable");
    canvas.addEventListener("pointermove", (event) => {
      if (!this.pinned || event.buttons) this.choose(this.tokenAt(event), this.pinned);
    });
    canvas.addEventListener("pointerdown", (event) => {
      const token = this.tokenAt(event);
      this.choose(token, event.pointerType !== "mouse" || !(this.pinned && token === this.token));
    });
    canvas.addEventListener("keydown", (event) => this.moveByKey(event));
  }

  tokenAt(event) {
    const patch = this.patchAt(event);
    return patch === null ? this.token : patch + this.tokens.prefix.length;
  }

  moveByKey(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const [rows, columns] = this.tokens.grid;
    const first = this.tokens.prefix.length;
    const middle = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
    const patch = this.isPatch() ? this.token - first : middle;
    const moved = this.isPatch() ? step : [0, 0];
    const row = Math.min(rows - 1, Math.max(0, Math.floor(patch / columns) + moved[0]));
    const column = Math.min(columns - 1, Math.max(0, (patch % columns) + moved[1]));
    this.choose(first + row * columns + column, true);
  }

  isPatch() {
    return this.token !== "readout" && this.token >= this.tokens.prefix.length;
  }

  choose(token, pinned) {
    const same = token === this.token && pinned === this.pinned;
    Object.assign(this, { token, pinned });
    if (!same) this.onPoint(this.place(), pinned);
    this.draw();
  }

  // Where the chosen token is: relative coordinates of its middle, or its name.
  place() {
    if (!this.isPatch()) return { name: this.token === "readout" ? "readout" : this.tokens.prefix[this.token] };
    const { grid, patch } = this.tokens;
    const cell = this.token - this.tokens.prefix.length;
    const middle = (number, side) => ((number + 0.5) * patch) / side;
    return { u: middle(cell % grid[1], this.model.size[1]), v: middle(Math.floor(cell / grid[1]), this.model.size[0]) };
  }

  // Choose the token at a place of another panel.
  follow(place, pinned) {
    const patch = "name" in place ? null : this.patchOf(place.u, place.v);
    const named = this.tokens.prefix.indexOf(place.name);
    if (patch !== null) this.token = patch + this.tokens.prefix.length;
    else this.token = named >= 0 ? named : this.tokens.pooled ? "readout" : 0;
    this.pinned = pinned;
    this.draw();
  }

  chooseAt(event) {
    const box = this.sheet.getBoundingClientRect();
    const block = Math.floor((event.clientX - box.left) / this.layout.width);
    const row = Math.floor((event.clientY - box.top) / this.layout.height);
    if (block >= 0 && block < this.attention.blocks && row >= 0 && row < this.rows.length) this.chooseMap(row, block);
  }

  chooseByKey(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const row = Math.min(this.rows.length - 1, Math.max(0, this.chosen.row + step[0]));
    this.chooseMap(row, Math.min(this.attention.blocks - 1, Math.max(0, this.chosen.block + step[1])));
  }

  chooseMap(row, block) {
    this.chosen = { row, block: row === 0 ? Math.max(block, this.start) : block };
    this.draw();
  }

  query() {
    if (this.token === "readout") return this.attention.readout;
    const query = new Float64Array(this.attention.n);
    query[this.token] = 1;
    return query;
  }

  // Weights over tokens of a cell of the sheet; null where there are none.
  weights(row, block, byKey) {
    const { rollout, head } = this.rows[row];
    if (byKey && this.token === "readout") return null;
    if (!rollout) {
      if (byKey) return this.attention.attending(block, head, this.token);
      return this.attention.attended(block, head, this.query());
    }
    if (block < this.start) return null;
    if (!byKey) return this.attention.rolloutAttended(this.start, block, this.query());
    this.columns ??= this.attention.rolloutAttending(this.start, this.token);
    return this.columns[block];
  }
}
