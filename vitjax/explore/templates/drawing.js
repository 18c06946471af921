// Pictures on canvases: photos, overlays in the colours of vitjax's own, and sheets of small maps.

const COLOURS = Object.fromEntries(
  Object.entries(contents.colours).map(([name, table]) => [name, Uint8Array.from(table.flat())]),
);

function canvasOf(width, height, label) {
  const canvas = element("canvas", { width, height, role: "img", "aria-label": label });
  canvas.classList.toggle("small", width <= 96);
  return canvas;
}

function show(canvas, pixels) {
  canvas.getContext("2d").putImageData(new ImageData(pixels, canvas.width, canvas.height), 0, 0);
}

// RGBA of an RGB photo; `hidden(i)` tells which pixels have the colour `fill` instead.
function photoPixels(photo, hidden = null, fill = [0, 0, 0]) {
  const out = new Uint8ClampedArray((photo.length / 3) * 4);
  for (let i = 0, from = 0, to = 0; from < photo.length; i++, from += 3, to += 4) {
    const gone = hidden !== null && hidden(i);
    for (let c = 0; c < 3; c++) out[to + c] = gone ? fill[c] : photo[from + c];
    out[to + 3] = 255;
  }
  return out;
}

// RGBA of levels of colour, one a pixel, over the photo, as in vitjax/plots/overlay.py.
function overlayPixels(photo, levels, signed) {
  return signed ? signedOverlay(photo, levels) : unsignedOverlay(photo, levels);
}

function greyAt(photo, i) {
  return 0.2126 * photo[3 * i] + 0.7152 * photo[3 * i + 1] + 0.0722 * photo[3 * i + 2];
}

function unsignedOverlay(photo, levels) {
  const colours = COLOURS.sequential;
  const opacity = Float64Array.from({ length: 256 }, (_, level) => {
    const strength = level / 255;
    return contents.overlay.opacity * strength * strength * (3 - 2 * strength);
  });
  const out = new Uint8ClampedArray(levels.length * 4);
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i];
    const grey = greyAt(photo, i);
    const shade = 0.85 + (0.3 * grey) / 255;
    for (let c = 0; c < 3; c++) {
      const base = 0.72 * (grey + 0.35 * (photo[3 * i + c] - grey));
      out[4 * i + c] = base * (1 - opacity[level]) + opacity[level] * colours[3 * level + c] * shade;
    }
    out[4 * i + 3] = 255;
  }
  return out;
}

// Both signs as ink on a pale photo.
function signedOverlay(photo, levels) {
  const { opacity, palest } = contents.overlay;
  const ink = Float64Array.from(COLOURS.diverging, (colour, i) => {
    const strength = Math.abs((2 * Math.floor(i / 3)) / 255 - 1);
    return 1 - opacity * Math.sqrt(strength) * (1 - colour / 255);
  });
  const out = new Uint8ClampedArray(levels.length * 4);
  for (let i = 0; i < levels.length; i++) {
    const paper = palest + ((255 - palest) * greyAt(photo, i)) / 255;
    for (let c = 0; c < 3; c++) out[4 * i + c] = paper * ink[3 * levels[i] + c];
    out[4 * i + 3] = 255;
  }
  return out;
}

// Levels of colour at pixels, from one value a patch: each patch is one flat square.
function patchLevels(values, largest, tokens, [height, width]) {
  const [rows, columns] = tokens.grid;
  const levels = new Uint8Array(height * width);
  for (let y = 0; y < Math.min(height, rows * tokens.patch); y++) {
    for (let x = 0; x < Math.min(width, columns * tokens.patch); x++) {
      const cell = Math.floor(y / tokens.patch) * columns + Math.floor(x / tokens.patch);
      levels[y * width + x] = largest > 0 ? Math.round((255 * values[cell]) / largest) : 0;
    }
  }
  return levels;
}

function colourBar(low = "0", high = "", scheme = "sequential") {
  const canvas = element("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const pixels = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = COLOURS[scheme][3 * i + c];
    pixels[4 * i + 3] = 255;
  }
  show(canvas, pixels);
  const [start, end] = [element("span", { textContent: low }), element("span", { textContent: high })];
  return { node: element("div", { className: "bar" }, start, canvas, end), start, end, canvas };
}

// Many small maps on one canvas, a pixel a patch, each to be copied from there and enlarged without smoothing.
class Thumbnails {
  constructor([rows, columns], down, across) {
    Object.assign(this, { rows, columns });
    this.canvas = element("canvas", { width: across * columns, height: down * rows });
    this.image = new ImageData(this.canvas.width, this.canvas.height);
    this.words = new Uint32Array(this.image.data.buffer);
    const table = COLOURS.sequential;
    this.colours = Uint32Array.from(
      { length: 256 },
      (_, level) => 0xff000000 | (table[3 * level + 2] << 16) | (table[3 * level + 1] << 8) | table[3 * level],
    );
  }

  // Sets the map in a row and column of the canvas, scaled to its largest value.
  set(down, across, values) {
    const largest = values.reduce((a, b) => Math.max(a, b), 0);
    const scale = largest > 0 ? 255 / largest : 0;
    for (let row = 0, i = 0; row < this.rows; row++) {
      let at = (down * this.rows + row) * this.canvas.width + across * this.columns;
      for (let column = 0; column < this.columns; column++) this.words[at++] = this.colours[Math.round(scale * values[i++])];
    }
  }

  finish() {
    this.canvas.getContext("2d").putImageData(this.image, 0, 0);
  }

  copy(context, down, across, place) {
    context.drawImage(this.canvas, across * this.columns, down * this.rows, this.columns, this.rows, ...place);
  }
}
