// Drawing of an AttentionPanel.

Object.assign(AttentionPanel.prototype, {
  drawNow() {
    this.columns = null;
    this.shown = {
      to: this.weights(this.chosen.row, this.chosen.block, false),
      by: this.weights(this.chosen.row, this.chosen.block, true),
    };
    for (const name of ["to", "by"]) this.drawMap(name);
    this.placeMarks();
    this.captions.photo.textContent = this.tokenName() + (this.pinned && this.isPatch() ? ", kept" : "");
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.token === this.token));
    this.directions.forEach((button, i) => button.setAttribute("aria-pressed", String(Boolean(i) === this.byKey)));
    this.startValue.textContent = this.start;
    this.startSlider.value = this.start;
    this.sheetTitle.textContent = this.chosenName();
    this.drawSheet();
  },

  chosenName() {
    const { row, block } = this.chosen;
    if (!this.rows[row].rollout) return `Block ${block}, ${row === 1 ? "mean over heads" : this.rows[row].name}`;
    return `Rollout of blocks ${this.start} to ${block}; off by at most ${this.errorText()} of all weight`;
  },

  // The bound of quantise.py for this product: that of its first block less that of the first block above it.
  errorText() {
    const above = this.attention.bounds[this.chosen.block + 1] ?? 0;
    return percent(this.attention.bounds[this.start] - above, 2);
  },

  tokenName() {
    if (this.token === "readout") return "Weights by which the head pools the tokens";
    if (!this.isPatch()) return this.tokens.prefix[this.token][0].toUpperCase() + this.tokens.prefix[this.token].slice(1);
    const cell = this.token - this.tokens.prefix.length;
    return `Patch at row ${Math.floor(cell / this.tokens.grid[1])}, column ${cell % this.tokens.grid[1]}`;
  },

  drawMap(name) {
    const weights = this.shown[name];
    const first = this.tokens.prefix.length;
    const patches = weights ? weights.subarray(first) : new Float64Array(this.attention.n - first);
    const largest = patches.reduce((a, b) => Math.max(a, b), 0);
    const levels = patchLevels(patches, largest, this.tokens, this.model.size);
    show(this.canvases[name], overlayPixels(this.photo, levels, false));
    this.bars[name].end.textContent = percent(largest);
    this.tellValue(name, null);
  },

  // The caption of a map: the value at a patch, or those of the tokens that are no patches.
  tellValue(name, patch) {
    const weights = this.shown && this.shown[name];
    const caption = this.captions[name];
    if (!weights) {
      caption.textContent = "Nothing attends to the pooling of the head.";
    } else if (patch !== null) {
      const [row, column] = [Math.floor(patch / this.tokens.grid[1]), patch % this.tokens.grid[1]];
      caption.textContent = `row ${row}, column ${column}: ${percent(weights[patch + this.tokens.prefix.length], 2)}`;
    } else {
      const prefix = this.tokens.prefix.map((each, token) => `${each} ${percent(weights[token])}`);
      const own = this.isPatch() ? [`itself ${percent(weights[this.token])}`] : [];
      caption.textContent = [...prefix, ...own].join(", ") || " ";
    }
  },

  placeMarks() {
    const { grid, patch, prefix } = this.tokens;
    const [height, width] = this.model.size;
    for (const mark of Object.values(this.marks)) {
      mark.hidden = !this.isPatch();
      if (mark.hidden) continue;
      const cell = this.token - prefix.length;
      mark.classList.toggle("kept", this.pinned);
      mark.style.left = (100 * (cell % grid[1]) * patch) / width + "%";
      mark.style.top = (100 * Math.floor(cell / grid[1]) * patch) / height + "%";
      mark.style.width = (100 * patch) / width + "%";
      mark.style.height = (100 * patch) / height + "%";
    }
  },

  // Cells of the sheet in CSS pixels: as wide as the panel and the number of rows allow, but neither tiny nor huge.
  measure() {
    const { grid } = this.tokens;
    const room = (this.scroller.clientWidth - 58) / this.attention.blocks;
    const width = Math.floor(Math.max(20, Math.min(room, Math.max(40, 440 / this.rows.length), 84)));
    return { width, height: Math.max(8, Math.round(((width - 3) * grid[0]) / grid[1]) + 3) };
  },

  drawSheet() {
    const { width, height } = this.measure();
    if (width !== this.layout?.width) this.placeLabels(width, height);
    this.layout = { width, height };
    const scale = window.devicePixelRatio || 1;
    const size = [this.attention.blocks * width, this.rows.length * height];
    [this.sheet.width, this.sheet.height] = size.map((side) => Math.round(side * scale));
    [this.sheet.style.width, this.sheet.style.height] = size.map((side) => side + "px");
    const context = this.sheet.getContext("2d");
    context.scale(scale, scale);
    context.imageSmoothingEnabled = false;
    const first = this.tokens.prefix.length;
    const cells = [];
    for (let row = 0; row < this.rows.length; row++) {
      for (let block = 0; block < this.attention.blocks; block++) {
        const weights = this.weights(row, block, this.byKey);
        if (!weights) continue;
        this.thumbnails.set(row, block, weights.subarray(first));
        cells.push([row, block]);
      }
    }
    this.thumbnails.finish();
    for (const [row, block] of cells) {
      const place = [block * width + 1.5, row * height + 1.5, width - 3, height - 3];
      this.thumbnails.copy(context, row, block, place);
    }
    moveTo(this.choice, this.chosen.block * width, this.chosen.row * height, width, height);
  },

  placeLabels(width, height) {
    const rows = this.rows.map((row, number) =>
      moveTo(element("span", { className: "row", textContent: row.name }), -58, number * height, 52, height),
    );
    const columns = Array.from({ length: this.attention.blocks }, (_, block) => {
      const textContent = block === 0 && width >= 44 ? "block 0" : String(block);
      return moveTo(element("span", { className: "column", textContent }), block * width, -18, width, 18);
    });
    this.labels.replaceChildren(...rows, ...columns);
  },
});

function moveTo(node, left, top, width, height) {
  Object.entries({ left, top, width, height }).forEach(([side, value]) => (node.style[side] = value + "px"));
  return node;
}
