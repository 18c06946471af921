// Attention of one image, and rollout computed from it.

class Attention {
  // n tokens, blocks, heads (0 if only their mean is known); codes and largest weights of heads and mean; see quantise.py.
  static async read(entry, tokens) {
    const attention = new Attention();
    attention.n = tokens.prefix.length + tokens.grid[0] * tokens.grid[1];
    attention.blocks = tokens.blocks;
    attention.heads = tokens.heads;
    attention.bounds = entry.bounds;
    attention.readout = await array(entry.readout, Float32Array);
    const codes = await array(entry.mean.codes, Uint16Array);
    attention.mean = dequantised(codes, await array(entry.mean.largest, Float32Array), attention.n);
    attention.normaliser = normalisers(attention.mean, attention.n);
    if (entry.heads) {
      attention.codes = await array(entry.heads.codes, Uint8Array);
      attention.largest = await array(entry.heads.largest, Float32Array);
    }
    return attention;
  }

  // Adds weight * (row `token` of a head, or of the mean where head is null) to `sum`.
  addRow(sum, block, head, token, weight) {
    const n = this.n;
    if (head === null) {
      const start = (block * n + token) * n;
      for (let key = 0; key < n; key++) sum[key] += weight * this.mean[start + key];
      return;
    }
    const row = (block * this.heads + head) * n + token;
    const scale = (weight * this.largest[row]) / (255 * 255);
    for (let key = 0, at = row * n; key < n; key++, at++) sum[key] += scale * this.codes[at] * this.codes[at];
  }

  // What the query, weights over tokens, attends to: [n].
  attended(block, head, query) {
    const sum = new Float64Array(this.n);
    query.forEach((weight, token) => {
      if (weight) this.addRow(sum, block, head, token, weight);
    });
    return sum;
  }

  // How strongly every token attends to `key`: [n].
  attending(block, head, key) {
    const n = this.n;
    const column = new Float64Array(n);
    for (let token = 0; token < n; token++) {
      if (head === null) {
        column[token] = this.mean[(block * n + token) * n + key];
      } else {
        const row = (block * this.heads + head) * n + token;
        const code = this.codes[row * n + key];
        column[token] = (this.largest[row] * code * code) / (255 * 255);
      }
    }
    return column;
  }

  // Rollout from block `start` up to block `end`, as seen from the query: query · P_end ... P_start.
  rolloutAttended(start, end, query) {
    const n = this.n;
    let row = Float64Array.from(query);
    for (let block = end; block >= start; block--) {
      const next = new Float64Array(n);
      for (let token = 0; token < n; token++) {
        const weight = row[token] * this.normaliser[block * n + token];
        if (!weight) continue;
        this.addRow(next, block, null, token, weight);
        next[token] += weight;
      }
      row = next;
    }
    return row;
  }

  // Rollout from block `start` up to each block, of every token at `key`: by block, undefined below `start`.
  rolloutAttending(start, key) {
    const n = this.n;
    const found = new Array(this.blocks);
    let column = new Float64Array(n);
    column[key] = 1;
    for (let block = start; block < this.blocks; block++) {
      const next = new Float64Array(n);
      for (let token = 0; token < n; token++) {
        let sum = column[token];
        for (let other = 0, at = (block * n + token) * n; other < n; other++, at++) sum += this.mean[at] * column[other];
        next[token] = sum * this.normaliser[block * n + token];
      }
      found[block] = column = next;
    }
    return found;
  }
}

function dequantised(codes, largest, n) {
  const weights = new Float64Array(codes.length);
  for (let row = 0, at = 0; row < largest.length; row++) {
    const unit = largest[row] / 65535;
    for (let key = 0; key < n; key++, at++) weights[at] = unit * codes[at];
  }
  return weights;
}

// 1 / (1 + sum of the row): what divides rows of attention with the residual connection added.
function normalisers(weights, n) {
  const found = new Float64Array(weights.length / n);
  for (let row = 0, at = 0; row < found.length; row++) {
    let sum = 1;
    for (let key = 0; key < n; key++, at++) sum += weights[at];
    found[row] = 1 / sum;
  }
  return found;
}
