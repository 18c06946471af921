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

  // Cells of the sheet in CSS pixels: wide enough for the panel, but neither tiny nor huge.
  measure() {
    const [label, head] = [56, 18];
    const { grid } = this.tokens;
    const room = (this.scroller.clientWidth - label) / this.attention.blocks;
    const width = Math.floor(Math.min(52, Math.max(20, room)));
    return { label, head, width, height: Math.max(8, Math.round(((width - 3) * grid[0]) / grid[1]) + 3) };
  },

  drawSheet() {
    const { label, head, width, height } = (this.layout = this.measure());
    const scale = window.devicePixelRatio || 1;
    const size = [label + this.attention.blocks * width + 1, head + this.rows.length * height + 1];
    [this.sheet.width, this.sheet.height] = size.map((side) => Math.round(side * scale));
    [this.sheet.style.width, this.sheet.style.height] = size.map((side) => side + "px");
    const context = this.sheet.getContext("2d");
    context.scale(scale, scale);
    context.imageSmoothingEnabled = false;
    const style = getComputedStyle(this.sheet);
    context.fillStyle = style.color;
    context.font = `11px ${style.fontFamily}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (let block = 0; block < this.attention.blocks; block++) {
      const name = block === 0 && width >= 40 ? "block 0" : String(block);
      context.fillText(name, label + (block + 0.5) * width, head / 2);
    }
    context.textAlign = "right";
    const first = this.tokens.prefix.length;
    this.rows.forEach((row, number) => {
      context.fillText(row.name, label - 6, head + (number + 0.5) * height);
      for (let block = 0; block < this.attention.blocks; block++) {
        const weights = this.weights(number, block, this.byKey);
        if (!weights) continue;
        const place = [label + block * width + 1.5, head + number * height + 1.5, width - 3, height - 3];
        context.drawImage(thumbnail(weights.subarray(first), this.tokens.grid), ...place);
      }
    });
    context.lineWidth = 2;
    context.strokeStyle = style.getPropertyValue("--accent");
    context.strokeRect(label + this.chosen.block * width, head + this.chosen.row * height, width, height);
  },
});
