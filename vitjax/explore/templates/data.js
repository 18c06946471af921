"use strict";

// Contents of the page: JSON, and arrays that are decompressed when they are needed.

const contents = JSON.parse(document.getElementById("contents").textContent);
const arrays = new Map();

function decompressed(number) {
  const text = atob(document.getElementById("array" + number).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// A typed array by its number. Arrays are little-endian, as the machines are that browsers run on.
async function array(number, Type) {
  if (!arrays.has(number)) arrays.set(number, decompressed(number));
  return new Type(await arrays.get(number));
}

// A DOM element. Text is set as text, so that no name of a file or class is read as HTML.
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name in node && name !== "role") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function percent(share, digits = 1) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = 100 * share;
  return (value > 0 && value < 0.05 && digits < 2 ? value.toPrecision(1) : value.toFixed(digits)) + "\u00a0%";
}

// A function that calls `draw` once before the next frame, however often it is called.
function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}
